//! The camera: GStreamer's RTSP server with a test picture (`peers/rtsp_server.py`).

use std::net::SocketAddr;

use anyhow::{Result, bail};

use crate::{host::Host, process::Process, wait};

const SCRIPT: &str = include_str!("../../peers/rtsp_server.py");

/// Pictures that the camera sends a second.
pub const PICTURES_PER_SECOND: u32 = 15;

/// A running camera.
#[derive(Debug)]
pub struct Camera<'lab> {
    address: SocketAddr,
    process: Process,
    /// Not needed, but the host must live longer than what runs on it.
    _host: &'lab Host,
}

impl<'lab> Camera<'lab> {
    /// Starts a camera on `host` and waits until it listens at `address`.
    pub fn start(host: &'lab Host, address: SocketAddr) -> Result<Self> {
        let arguments = [address.ip().to_string(), address.port().to_string()];
        let mut process = host.start_python("camera", SCRIPT, &arguments)?;
        wait::until("the camera listens", || {
            process.check_alive()?;
            if !process.stdout()?.contains("listening on") {
                bail!("it has not said so yet; it said:\n{}", process.tail());
            }
            Ok(())
        })?;
        Ok(Self { address, process, _host: host })
    }

    /// Where the video is.
    pub fn url(&self) -> String {
        format!("rtsp://{}/test", self.address)
    }

    /// The last lines of the camera's own messages.
    pub fn log_tail(&self) -> String {
        self.process.tail()
    }
}
