//! A camera that brings its video to the server: ffmpeg, with ANNOUNCE and RECORD.

use anyhow::{Context as _, Result, bail};

use super::{camera::PICTURES_PER_SECOND, player::Transport};
use crate::{host::Host, process::Process, wait};

/// Attempts of [`wait`] before it counts as stuck: half a minute.
const ATTEMPTS: u32 = 1500;

/// A running camera of this kind.
#[derive(Debug)]
pub struct Pusher<'lab> {
    process: Process,
    /// Not needed, but the host must live longer than what runs on it.
    _host: &'lab Host,
}

impl<'lab> Pusher<'lab> {
    /// Starts to push `pictures` pictures of `size`, as ffmpeg writes it, to `url` from `host`.
    pub fn start(
        host: &'lab Host,
        url: &str,
        transport: Transport,
        size: &str,
        pictures: usize,
    ) -> Result<Self> {
        let mut ffmpeg = host.command("ffmpeg");
        ffmpeg.args(["-nostdin", "-hide_banner", "-loglevel", "warning"]);
        let source = format!("testsrc=size={size}:rate={PICTURES_PER_SECOND}");
        ffmpeg.args(["-re", "-f", "lavfi", "-i", &source, "-frames:v", &pictures.to_string()]);
        // Every picture as soon as it is there.
        ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"]);
        ffmpeg.args(["-pix_fmt", "yuv420p", "-threads", "1"]);
        ffmpeg.args(["-f", "rtsp", "-rtsp_transport", &transport.to_string(), url]);
        let process = host.start("pusher", ffmpeg)?;
        Ok(Self { process, _host: host })
    }

    /// Waits for its end. An error, with the end of what ffmpeg said, when it failed.
    pub fn finish(mut self) -> Result<()> {
        let status = wait::until_within(ATTEMPTS, "the push ends", || {
            self.process.exit_status()?.context("it goes on")
        })
        .with_context(|| format!("ffmpeg said:\n{}", self.process.tail()))?;
        if !status.success() {
            bail!("ffmpeg failed ({status}) and said:\n{}", self.process.tail());
        }
        Ok(())
    }

    /// Ends it without a word to the server.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }
}
