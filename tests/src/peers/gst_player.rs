//! A second player: GStreamer's own RTSP client (`peers/rtsp_player.py`).

use anyhow::{Context as _, Result, bail, ensure};

use super::player::Transport;
use crate::{host::Host, process::Process, wait};

const SCRIPT: &str = include_str!("../../peers/rtsp_player.py");

/// Attempts of [`wait`] before a player counts as stuck: half a minute.
const ATTEMPTS: u32 = 1500;

/// A running player.
#[derive(Debug)]
pub struct GstPlayer<'lab> {
    process: Process,
    /// Not needed, but the host must live longer than what runs on it.
    _host: &'lab Host,
}

/// What a player got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// Pictures that it decoded.
    pub pictures: usize,
    /// RTP packets that did not come.
    pub lost: u64,
}

impl<'lab> GstPlayer<'lab> {
    /// Starts to play `pictures` pictures of the video at `url` on `host`.
    pub fn start(
        host: &'lab Host,
        url: &str,
        transport: Transport,
        pictures: usize,
    ) -> Result<Self> {
        let arguments = [url.to_owned(), transport.to_string(), pictures.to_string()];
        let process = host.start_python("gst-player", SCRIPT, &arguments)?;
        Ok(Self { process, _host: host })
    }

    /// What it got so far.
    pub fn played(&self) -> Result<Played> {
        Played::parse(&self.process.stdout()?)
    }

    /// Waits until `count` pictures were decoded.
    pub fn wait_for_pictures(&mut self, count: usize) -> Result<()> {
        wait::until_within(ATTEMPTS, &format!("GStreamer has decoded {count} pictures"), || {
            let Played { pictures, .. } = self.played()?;
            if pictures < count {
                self.process.check_alive()?;
                bail!("it has {pictures}");
            }
            Ok(())
        })
    }

    /// Waits for its end and returns what it got. An error, with what GStreamer said, when it failed.
    pub fn finish(mut self) -> Result<Played> {
        let status = wait::until_within(ATTEMPTS, "GStreamer's player ends", || {
            self.process.exit_status()?.context("it plays on")
        });
        let said = || format!("after {:?}, it said:\n{}", self.played(), self.process.tail());
        ensure!(status.with_context(said)?.success(), "GStreamer's player failed {}", said());
        self.played()
    }

    /// Ends it without a word to the server.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }
}

impl Played {
    fn parse(text: &str) -> Result<Self> {
        let mut played = Self { pictures: 0, lost: 0 };
        // The last line may be half written.
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        for line in complete.lines() {
            match line.split_once(' ') {
                Some(("picture", _)) => played.pictures += 1,
                Some(("lost", count)) => {
                    played.lost += count.parse::<u64>().with_context(|| line.to_owned())?;
                }
                _ => bail!("not a line of rtsp_player.py: {line:?}"),
            }
        }
        Ok(played)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_counted_and_losses_added() {
        let played = Played::parse("picture 1\nlost 2\npicture 2\nlost 3\npictu").unwrap();
        assert_eq!(played, Played { pictures: 2, lost: 5 });
        assert!(Played::parse("segmentation fault\n").is_err());
    }
}
