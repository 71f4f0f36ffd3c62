//! The viewer: a client for the recorder, step by step, so that a test can do something in between.

use std::{
    fmt,
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};

pub use super::rtsp_text::Message;
use super::rtsp_text::{Item, Reader};
use crate::host::Host;

/// How long the viewer waits for the next byte. Longer than a few retransmissions, because a filter
/// may hold back a segment so that it is repeated.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By a FIN from the other side.
    Closed,
    /// By a RST.
    Reset,
    /// Not at all, but nothing came for some seconds.
    TimedOut,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Closed => "closed",
            End::Reset => "reset",
            End::TimedOut => "silent",
        })
    }
}

impl std::error::Error for End {}

/// How far [`Viewer::converse`] came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The requests that were answered with 200, in order.
    pub answered: Vec<&'static str>,
    /// Interleaved frames received.
    pub frames: u32,
    /// Pings of the recorder, each answered.
    pub pings: u32,
    /// Why it went no further; `None` when all was received and the connection is open.
    pub end: Option<End>,
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered, {} frames", self.answered.join(" "), self.frames)?;
        match self.end {
            Some(end) => write!(f, ", then the connection was {end}"),
            None => write!(f, ", the connection is open"),
        }
    }
}

/// A connection to a recorder.
#[derive(Debug)]
pub struct Viewer {
    stream: TcpStream,
    reader: Reader,
    local: SocketAddr,
    url: String,
    cseq: u32,
    frames: u32,
    pings: u32,
}

impl Viewer {
    /// Connects from `host` to the recorder at `address`.
    pub fn connect(host: &Host, address: SocketAddr) -> Result<Self> {
        let stream = host
            .run(|| TcpStream::connect_timeout(&address, PATIENCE))?
            .with_context(|| format!("cannot connect from the {} to {address}", host.role()))?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
        stream.set_nodelay(true).context("cannot switch Nagle's algorithm off")?;
        let local = stream.local_addr().context("a connection has a local address")?;
        Ok(Self {
            stream,
            reader: Reader::default(),
            local,
            url: format!("rtsp://{address}/track1"),
            cseq: 0,
            frames: 0,
            pings: 0,
        })
    }

    /// The viewer's end of the connection.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Sends a request without waiting for its reply. `headers` are whole lines with their ends.
    pub fn send(&mut self, method: &str, headers: &str) -> Result<(), End> {
        self.cseq += 1;
        let text =
            format!("{method} {} RTSP/1.0\r\nCSeq: {}\r\n{headers}\r\n", self.url, self.cseq);
        self.stream.write_all(text.as_bytes()).map_err(end_of)
    }

    /// Sends a request and returns the reply; frames and pings that come before it are counted.
    pub fn request(&mut self, method: &str, headers: &str) -> Result<Message, End> {
        self.send(method, headers)?;
        loop {
            if let Some(reply) = self.receive()? {
                return Ok(reply);
            }
        }
    }

    /// Sends SETUP, for interleaved frames.
    pub fn setup(&mut self) -> Result<Message, End> {
        self.request("SETUP", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
    }

    /// Sends PLAY; frames follow.
    pub fn play(&mut self) -> Result<Message, End> {
        self.request("PLAY", "Session: 7083\r\n")
    }

    /// Reads `count` frames more.
    pub fn read_frames(&mut self, count: u32) -> Result<(), End> {
        let wanted = self.frames + count;
        while self.frames < wanted {
            self.receive()?;
        }
        Ok(())
    }

    /// Reads to the end of the connection and says how it came, with what was still in flight counted.
    pub fn read_to_end(&mut self) -> End {
        loop {
            if let Err(end) = self.receive() {
                return end;
            }
        }
    }

    /// The whole conversation: OPTIONS, DESCRIBE, SETUP, PLAY, and `frames` interleaved frames.
    pub fn converse(&mut self, frames: u32) -> Conversation {
        let mut answered = Vec::new();
        let end = self.converse_noting(frames, &mut answered).err();
        Conversation { answered, frames: self.frames, pings: self.pings, end }
    }

    fn converse_noting(
        &mut self,
        frames: u32,
        answered: &mut Vec<&'static str>,
    ) -> Result<(), End> {
        let steps = [
            ("OPTIONS", ""),
            ("DESCRIBE", "Accept: application/sdp\r\n"),
            ("SETUP", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"),
            ("PLAY", "Session: 7083\r\n"),
        ];
        for (method, headers) in steps {
            let reply = self.request(method, headers)?;
            assert_eq!(reply.status(), Some(200), "the recorder refused {method}: {reply:?}");
            answered.push(method);
        }
        self.read_frames(frames)
    }

    /// Takes what comes next: a frame is counted, a ping is answered and counted, a reply returned.
    fn receive(&mut self) -> Result<Option<Message>, End> {
        match self.reader.next(&mut self.stream).map_err(end_of)?.ok_or(End::Closed)? {
            Item::Frame(..) => self.frames += 1,
            Item::Message(message) if message.status().is_some() => return Ok(Some(message)),
            Item::Message(request) => {
                self.pings += 1;
                let cseq = request.header("cseq").unwrap_or_default();
                let reply = format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n\r\n");
                self.stream.write_all(reply.as_bytes()).map_err(end_of)?;
            }
        }
        Ok(None)
    }
}

/// Which end of a connection an error stands for.
///
/// # Panics
///
/// When it stands for none: then it is the test that is wrong.
fn end_of(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::Reset,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => End::TimedOut,
        io::ErrorKind::UnexpectedEof => End::Closed,
        _ => panic!("the viewer's connection: {error}"),
    }
}
