//! The recorder of the story: a small RTSP server with a dialect of its own.
//!
//! What is odd about it, all of it seen in real devices:
//! - its reply to DESCRIBE has no CSeq, which the grammar asks for;
//! - blanks before a value, `Session:        7083`, which the grammar allows;
//! - a method of its own, `X_PING`, which it understands and which it sends to the client, the first
//!   time before the first frame.
//!
//! After PLAY it sends interleaved frames for as long as the connection lives, and its kernel repeats
//! what is not acknowledged: after a kill there are always packets of the dead connection.

use std::{
    io::{self, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::socket;

use super::rtsp_text::{Item, Message, Reader};
use crate::host::Host;

/// The session number, with the blanks of the dialect.
pub const SESSION_HEADER: &str = "Session:        7083";

/// Between two frames.
const FRAME_INTERVAL: Duration = Duration::from_millis(10);
/// A frame's payload: an RTP header and some pixels.
const FRAME_BYTES: u16 = 1000;
/// How many frames lie between two pings.
const FRAMES_PER_PING: u32 = 50;

const DESCRIPTION: &str = "v=0\r\no=- 7083 1 IN IP4 0.0.0.0\r\ns=recorder\r\nt=0 0\r\n\
                           m=video 0 RTP/AVP 26\r\na=control:track1\r\n";

/// A running recorder.
#[derive(Debug)]
pub struct Recorder<'lab> {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
    /// Not needed, but the host must live longer than a socket in it.
    _host: &'lab Host,
}

impl<'lab> Recorder<'lab> {
    /// Starts a recorder on `host` that listens at `address`.
    pub fn start(host: &'lab Host, address: SocketAddr) -> Result<Self> {
        let listener = host
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("the recorder cannot listen at {address}"))?;
        let listener = Arc::new(listener);
        let thread = thread::spawn({
            let listener = Arc::clone(&listener);
            move || accept(&listener)
        });
        Ok(Self { address, listener, thread: Some(thread), _host: host })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        // Wakes the thread that waits in accept(2); closing the listener would not.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves connections until the listener is shut down, then ends them.
fn accept(listener: &TcpListener) {
    let mut connections = Vec::new();
    for stream in listener.incoming() {
        let Ok(stream) = stream else { break };
        let Ok(handle) = stream.try_clone() else { break };
        // That the connection ends with an error is what these tests are about: the viewer reports
        // it, the recorder does not mind.
        connections.push((handle, thread::spawn(move || drop(serve(stream)))));
    }
    for (stream, thread) in connections {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

/// Serves one connection to its end.
fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Replies and frames come from two threads; a frame must not end up inside a reply.
    let writer = Arc::new(Mutex::new(stream.try_clone()?));
    let mut frames = None;
    let result = answer(stream.try_clone()?, &writer, &mut frames);

    stream.shutdown(Shutdown::Both)?;
    if let Some(frames) = frames {
        let _ = frames.join();
    }
    result
}

/// Answers requests until TEARDOWN. PLAY starts the thread that sends `frames`.
fn answer(
    mut stream: TcpStream,
    writer: &Arc<Mutex<TcpStream>>,
    frames: &mut Option<JoinHandle<()>>,
) -> io::Result<()> {
    let mut reader = Reader::default();
    while let Some(item) = reader.next(&mut stream)? {
        let Item::Message(request) = item else { continue };
        let Some(method) = request.method() else { continue }; // a reply to our ping
        write(writer, reply(&request, method).as_bytes())?;
        match method {
            "PLAY" if frames.is_none() => {
                let writer = Arc::clone(writer);
                *frames = Some(thread::spawn(move || drop(send_frames(&writer))));
            }
            "TEARDOWN" => break,
            _ => (),
        }
    }
    Ok(())
}

fn write(stream: &Mutex<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
}

fn reply(request: &Message, method: &str) -> String {
    let cseq = match request.header("cseq") {
        Some(number) => format!("CSeq: {number}\r\n"),
        None => String::new(),
    };
    match method {
        "OPTIONS" => format!(
            "RTSP/1.0 200 OK\r\n{cseq}\
             Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, X_PING\r\n\r\n"
        ),
        "DESCRIBE" => format!(
            "RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n\
             {DESCRIPTION}",
            DESCRIPTION.len()
        ),
        "SETUP" => format!(
            "RTSP/1.0 200 OK\r\n{cseq}{SESSION_HEADER}\r\n\
             Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
        ),
        "PLAY" | "TEARDOWN" | "X_PING" => {
            format!("RTSP/1.0 200 OK\r\n{cseq}{SESSION_HEADER}\r\n\r\n")
        }
        _ => format!("RTSP/1.0 501 Not Implemented\r\n{cseq}\r\n"),
    }
}

/// Sends pings and frames until the connection ends.
fn send_frames(stream: &Mutex<TcpStream>) -> io::Result<()> {
    for number in 0_u32.. {
        let mut bytes = Vec::new();
        if number % FRAMES_PER_PING == 0 {
            let cseq = number / FRAMES_PER_PING + 1;
            bytes.extend(
                format!("X_PING * RTSP/1.0\r\nCSeq: {cseq}\r\n{SESSION_HEADER}\r\n\r\n").as_bytes(),
            );
        }
        bytes.extend([b'$', 0]);
        bytes.extend(FRAME_BYTES.to_be_bytes());
        // RTP version 2, JPEG, and the sequence number; the rest need not be a picture.
        bytes.extend([0x80, 26]);
        bytes.extend((number as u16).to_be_bytes());
        bytes.resize(bytes.len() + usize::from(FRAME_BYTES) - 4, number as u8);
        write(stream, &bytes)?;
        thread::sleep(FRAME_INTERVAL);
    }
    Ok(())
}
