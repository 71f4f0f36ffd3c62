//! Interleaved media (RFC 2326 §10.12) as an endless loop of known bytes, and the words before it: whoever
//! receives it can check every byte, wherever the stream was cut into segments.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use anyhow::{Context as _, Result, ensure};

/// Frames in a loop. A prime, so that it is a multiple of no segment's and no buffer's length.
const FRAMES: usize = 251;
/// Frames between two calls of the server.
const FRAMES_PER_CALL: usize = 50;

/// What server and client say before the media, one answer to each request.
const WORDS: [(&str, &str); 4] = [
    ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
    (
        "DESCRIBE rtsp://reel/ RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n",
        "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    ),
    (
        "SETUP rtsp://reel/1 RTSP/1.0\r\nCSeq: 3\r\n\
         Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
        "RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 7083\r\n\
         Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
    ),
    (
        "PLAY rtsp://reel/ RTSP/1.0\r\nCSeq: 4\r\nSession: 7083\r\n\r\n",
        "RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession: 7083\r\n\r\n",
    ),
];

/// A call of the server to see whether the client is there.
const CALL: &[u8] = b"OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n";
/// The client's answer to it.
pub(super) const ANSWER: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 5\r\n\r\n";

/// The loop.
#[derive(Debug)]
pub(super) struct Reel {
    /// Once, and the beginning once more, so that a piece can begin anywhere.
    bytes: Vec<u8>,
    period: usize,
    /// Where calls of the server end.
    calls: Vec<usize>,
}

impl Reel {
    /// Frames as a camera sends them, from none to 20,000 bytes, and with `calls` a call of the server now and then.
    /// Pieces of up to `piece` bytes can be taken from it.
    pub(super) fn new(calls: bool, piece: usize) -> Self {
        let mut bytes = Vec::new();
        let mut call_ends = Vec::new();
        for number in 0..FRAMES {
            if calls && number % FRAMES_PER_CALL == 0 {
                bytes.extend(CALL);
                call_ends.push(bytes.len());
            }
            let (channel, length) = match number {
                40 => (0, 20_000),
                41 => (0, 0),
                _ if number % 16 == 0 => (1, 52),
                _ => (0, 900 + number * 2),
            };
            bytes.extend([b'$', channel, (length >> 8) as u8, length as u8]);
            // No letters and no `$`: nothing in it looks like a message or a frame.
            bytes.extend((0..length).map(|at| 0x80 | (at ^ (at >> 7) ^ number) as u8));
        }
        let period = bytes.len();
        let bytes = bytes.iter().copied().cycle().take(period + piece).collect();
        Self { bytes, period, calls: call_ends }
    }

    /// `length` bytes of the endless stream, from `position` on.
    pub(super) fn piece(&self, position: usize, length: usize) -> &[u8] {
        let start = position % self.period;
        &self.bytes[start..start + length]
    }

    /// The same, cut off where a call begins, unless it begins with one: so calls stand at the beginning of a write,
    /// and of a segment most of the time.
    pub(super) fn piece_to_call(&self, position: usize, length: usize) -> &[u8] {
        let start = position % self.period;
        let begins = self.calls.iter().map(|end| end - CALL.len()).chain([self.period]);
        let room = begins.map(|begin| begin.saturating_sub(start)).find(|room| *room > 0);
        self.piece(position, length.min(room.unwrap_or(length)))
    }

    /// How many calls have ended before `position` in the stream.
    pub(super) fn calls_before(&self, position: usize) -> usize {
        let (loops, rest) = (position / self.period, position % self.period);
        loops * self.calls.len() + self.calls.iter().filter(|end| **end <= rest).count()
    }
}

/// Has client (`near`) and server (`far`) say all that comes before the media.
pub(super) fn introduce(near: &mut TcpStream, far: &mut TcpStream) -> Result<()> {
    for (request, answer) in WORDS {
        say(near, far, request)?;
        say(far, near, answer)?;
    }
    Ok(())
}

fn say(from: &mut TcpStream, to: &mut TcpStream, text: &str) -> Result<()> {
    from.write_all(text.as_bytes()).with_context(|| format!("cannot say {text:?}"))?;
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard).with_context(|| format!("did not hear {text:?}"))?;
    ensure!(heard == text.as_bytes(), "heard {:?}", String::from_utf8_lossy(&heard));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reel_reads_on_from_any_place() {
        let reel = Reel::new(true, 5000);
        assert_eq!(reel.piece(0, 5000), reel.piece(reel.period, 5000));
        assert_eq!(reel.piece(reel.period - 1, 2)[1], b'O');
        assert_eq!(reel.piece_to_call(reel.period - 1, 2), &reel.piece(reel.period - 1, 2)[..1]);
        assert_eq!(reel.piece_to_call(reel.period, 100), reel.piece(0, 100));
        assert_eq!(reel.calls_before(CALL.len() - 1), 0);
        assert_eq!(reel.calls_before(CALL.len()), 1);
        let calls = FRAMES.div_ceil(FRAMES_PER_CALL);
        assert_eq!(reel.calls_before(2 * reel.period + CALL.len()), 2 * calls + 1);
        assert_eq!(Reel::new(false, 1).calls_before(1 << 30), 0);
    }
}
