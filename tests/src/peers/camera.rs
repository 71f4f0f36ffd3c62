//! The camera: GStreamer's RTSP server with a test picture (`peers/rtsp_server.py`).

use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::player::Transport;
use crate::{host::Host, process::Process, wait};

const SCRIPT: &str = include_str!("../../peers/rtsp_server.py");

/// Who may see the pictures of a guarded camera.
pub const USER: &str = "lab";
/// That user's password.
pub const PASSWORD: &str = "secret";

/// Pictures that the camera sends a second.
pub const PICTURES_PER_SECOND: u32 = 15;

/// A running camera.
#[derive(Debug)]
pub struct Camera<'lab> {
    address: SocketAddr,
    is_guarded: bool,
    process: Process,
    /// Not needed, but the host must live longer than what runs on it.
    _host: &'lab Host,
}

impl<'lab> Camera<'lab> {
    /// Starts a camera on `host` and waits until it listens at `address`.
    pub fn start(host: &'lab Host, address: SocketAddr) -> Result<Self> {
        Self::start_with(host, address, false)
    }

    /// The same, of a camera that asks for digest authentication of [`USER`].
    pub fn start_guarded(host: &'lab Host, address: SocketAddr) -> Result<Self> {
        Self::start_with(host, address, true)
    }

    fn start_with(host: &'lab Host, address: SocketAddr, is_guarded: bool) -> Result<Self> {
        let mut arguments = vec![address.ip().to_string(), address.port().to_string()];
        if is_guarded {
            arguments.extend([USER, PASSWORD].map(str::to_owned));
        }
        let mut process = host.start_python("camera", SCRIPT, &arguments)?;
        wait::until("the camera listens", || {
            process.check_alive()?;
            if !process.stdout()?.contains("listening on") {
                bail!("it has not said so yet; it said:\n{}", process.tail());
            }
            Ok(())
        })?;
        Ok(Self { address, is_guarded, process, _host: host })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it asks for a password.
    pub fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    /// Where the video is.
    pub fn url(&self) -> String {
        self.url_of("test")
    }

    /// Where it has `path`, with user and password if it asks for them.
    pub fn url_of(&self, path: &str) -> String {
        let who = if self.is_guarded { format!("{USER}:{PASSWORD}@") } else { String::new() };
        format!("rtsp://{who}{}/{path}", self.address)
    }

    /// Pictures that were pushed to it by `transport` so far.
    pub fn pushed(&self, transport: Transport) -> Result<usize> {
        let line = format!("pushed {transport}");
        Ok(self.process.stdout()?.lines().filter(|said| **said == line).count())
    }

    /// Ends it without a word to its clients.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// The last lines of the camera's own messages.
    pub fn log_tail(&self) -> String {
        self.process.tail()
    }
}
