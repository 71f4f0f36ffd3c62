//! The player: ffmpeg, which decodes the video and says of every picture when it was taken.

use std::fmt;

use anyhow::{Context as _, Result, bail};

use super::camera::PICTURES_PER_SECOND;
use crate::{host::Host, process::Process, wait};

/// Attempts a second of `wait`.
const ATTEMPTS_PER_SECOND: u32 = 50;

/// What a player gets beyond the length of the video, to start and to end, before it counts as stuck.
const GRACE_SECONDS: u32 = 15;

/// How the video travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Interleaved with the commands, in the one TCP connection.
    Tcp,
    /// RTP and RTCP over UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        })
    }
}

/// The pictures that a player has decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pictures {
    /// When each was taken, counted in pictures: without a loss, one more each time.
    times: Vec<u64>,
}

impl Pictures {
    /// How many were decoded.
    pub fn count(&self) -> usize {
        self.times.len()
    }

    /// How many are missing between the first and the last.
    pub fn missing(&self) -> u64 {
        self.times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).saturating_sub(1)).sum()
    }

    /// Reads what ffmpeg's `framecrc` format says: a line for each picture, with the time in the third
    /// column, and comments.
    fn parse(text: &str) -> Result<Self> {
        let mut times = Vec::new();
        // The last line may be half written.
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        for line in complete.lines() {
            if let Some(base) = line.strip_prefix("#tb 0:") {
                let expected = format!("1/{PICTURES_PER_SECOND}");
                if base.trim() != expected {
                    bail!("ffmpeg counts time in units of {base} s, not {expected} s");
                }
            } else if !line.starts_with('#') {
                let time = line.split(',').nth(2).and_then(|column| column.trim().parse().ok());
                times.push(time.with_context(|| format!("not a line of framecrc: {line:?}"))?);
            }
        }
        Ok(Self { times })
    }
}

/// A running player.
#[derive(Debug)]
pub struct Player<'lab> {
    process: Process,
    seconds: u32,
    /// Not needed, but the host must live longer than what runs on it.
    _host: &'lab Host,
}

impl<'lab> Player<'lab> {
    /// Starts to play `seconds` of the video at `url` on `host`.
    pub fn start(host: &'lab Host, url: &str, transport: Transport, seconds: u32) -> Result<Self> {
        let mut ffmpeg = host.command("ffmpeg");
        ffmpeg.args(["-nostdin", "-hide_banner", "-loglevel", "warning"]);
        ffmpeg.args(["-rtsp_transport", &transport.to_string()]);
        ffmpeg.args(["-timeout", "8000000"]); // microseconds without any byte
        ffmpeg.args(["-i", url, "-t", &seconds.to_string(), "-an"]);
        // Every picture as it comes, none doubled or left out to keep a rate.
        ffmpeg.args(["-fps_mode", "passthrough"]);
        ffmpeg.args(["-f", "framecrc", "-flush_packets", "1", "-"]);
        let process = host.start("player", ffmpeg)?;
        Ok(Self { process, seconds, _host: host })
    }

    /// What was decoded so far.
    pub fn pictures(&self) -> Result<Pictures> {
        Pictures::parse(&self.process.stdout()?)
    }

    /// Waits until `count` pictures were decoded.
    pub fn wait_for_pictures(&mut self, count: usize) -> Result<()> {
        let attempts = (self.seconds + GRACE_SECONDS) * ATTEMPTS_PER_SECOND;
        wait::until_within(attempts, &format!("the player has decoded {count} pictures"), || {
            let decoded = self.pictures()?.count();
            if decoded < count {
                self.process.check_alive()?;
                bail!("it has {decoded}");
            }
            Ok(())
        })
    }

    /// Ends it without a word to the server.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Waits for the end of the video and returns what was decoded. An error, with the end of what
    /// ffmpeg said, when it failed or decoded nothing.
    pub fn finish(mut self) -> Result<Pictures> {
        let attempts = (self.seconds + GRACE_SECONDS) * ATTEMPTS_PER_SECOND;
        let status = wait::until_within(attempts, "the player ends", || {
            self.process.exit_status()?.context("it plays on")
        })
        .with_context(|| format!("ffmpeg said:\n{}", self.process.tail()))?;
        let pictures = self.pictures()?;
        if !status.success() || pictures.count() == 0 {
            bail!(
                "ffmpeg decoded {} pictures ({status}) and said:\n{}",
                pictures.count(),
                self.process.tail()
            );
        }
        Ok(pictures)
    }
}

/// Plays `seconds` of the video at `url` on `host`, to the end.
pub fn play(host: &Host, url: &str, transport: Transport, seconds: u32) -> Result<Pictures> {
    Player::start(host, url, transport, seconds)?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_counted_and_missed_by_their_times() {
        let text = "#software: Lavf\n#tb 0: 1/15\n#dimensions 0: 320x240\n\
                    0,  0,  0,  1,  115200, 0xc30a93b1\n\
                    0,  1,  1,  1,  115200, 0x1cec92ac\n\
                    0,  4,  4,  1,  115200, 0x5ec79297\n\
                    0,  5,  5, ";
        let pictures = Pictures::parse(text).unwrap();
        assert_eq!(pictures.count(), 3);
        assert_eq!(pictures.missing(), 2);
    }

    #[test]
    fn another_time_base_is_an_error() {
        assert!(Pictures::parse("#tb 0: 1/25\n").is_err());
    }
}
