//! An audience: many RTSP connections at once, each of which carries interleaved media that the client checks
//! byte by byte. One thread at each end serves them all.
//!
//! The server calls each client now and then (OPTIONS) and the client answers, so that both directions have
//! messages, by which a filter that was bound in between finds its way.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    crowd::accept,
    poll::Poll,
    reel::{ANSWER, Reel, introduce},
};
use crate::{host::Host, wait};

/// How long a connection may take to come about, and a word of its beginning to be heard.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often each connection gets a piece.
const PACE: Duration = Duration::from_millis(100);
/// Most bytes of a piece: two or three frames, with the cut anywhere.
const PIECE: usize = 2_347;
/// How long a thread sleeps when there is nothing to do: it looks at whether to stop no less often.
const TICK_MS: i32 = 10;

/// Connections that play until they are stopped.
#[derive(Debug)]
pub struct Audience {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    reel: Reel,
    stop: AtomicBool,
    members: Vec<Member>,
    /// What went wrong with connections.
    broken: Mutex<Vec<String>>,
}

/// How far a connection is, in bytes of its reel.
#[derive(Debug, Default)]
struct Member {
    received: AtomicUsize,
    answered: AtomicUsize,
}

impl Audience {
    /// `count` connections from `client` to a listener that is opened on `server` at `address`; all of them play
    /// when this returns.
    pub fn gather(client: &Host, server: &Host, address: SocketAddr, count: usize) -> Result<Self> {
        let listener = server
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("cannot listen at {address}"))?;
        let (mut near_ends, mut far_ends) = (Vec::new(), Vec::new());
        for number in 0..count {
            let what = || format!("connection {number} to {address}");
            let mut near = client
                .run(|| TcpStream::connect_timeout(&address, PATIENCE))?
                .with_context(what)?;
            let mut far = accept(&listener).with_context(what)?;
            for end in [&near, &far] {
                end.set_nonblocking(false)?;
                end.set_read_timeout(Some(PATIENCE))?;
                end.set_nodelay(true)?;
            }
            introduce(&mut near, &mut far).with_context(what)?;
            for end in [&near, &far] {
                end.set_nonblocking(true)?;
            }
            near_ends.push(near);
            far_ends.push(far);
        }
        let shared = Arc::new(Shared {
            reel: Reel::new(true, PIECE),
            stop: AtomicBool::new(false),
            members: near_ends.iter().map(|_| Member::default()).collect(),
            broken: Mutex::default(),
        });
        let (server, viewer) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || server.watch("the server's", server.serve(far_ends))),
            thread::spawn(move || viewer.watch("the viewers'", viewer.view(near_ends))),
        ];
        Ok(Self { shared, threads })
    }

    /// Waits until every connection has played `more` bytes more than now. An error when one broke or got a wrong
    /// byte.
    pub fn plays_on(&self, more: usize) -> Result<()> {
        let received = |member: &Member| member.received.load(Relaxed);
        let before: Vec<_> = self.shared.members.iter().map(received).collect();
        wait::until(&format!("every connection has played {more} bytes more"), || {
            self.check()?;
            let members = self.shared.members.iter().zip(&before).enumerate();
            let late: Vec<_> = members
                .filter(|(_, (member, before))| received(member) < *before + more)
                .map(|(number, _)| number)
                .collect();
            ensure!(late.is_empty(), "{} have not: {late:?}", late.len());
            Ok(())
        })
    }

    /// An error when a connection broke or got a wrong byte.
    pub fn check(&self) -> Result<()> {
        let broken = self.shared.broken.lock().expect("no thread panics while it holds it");
        ensure!(broken.is_empty(), "{} broke: {:?}", broken.len(), broken.first());
        Ok(())
    }

    /// Bytes that all of them played so far, and answers that the server got.
    pub fn played(&self) -> (usize, usize) {
        let members = &self.shared.members;
        (
            members.iter().map(|member| member.received.load(Relaxed)).sum(),
            members.iter().map(|member| member.answered.load(Relaxed)).sum::<usize>()
                / ANSWER.len(),
        )
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn stops(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn breaks(&self, line: String) {
        if !self.stops()
            && let Ok(mut broken) = self.broken.lock()
        {
            broken.push(line);
        }
    }

    /// A thread that ended by itself is a failure of all its connections.
    fn watch(&self, whose: &str, result: io::Result<()>) {
        if let Err(error) = result {
            self.breaks(format!("{whose} thread: {error}"));
        }
    }

    /// The server's thread: a piece for everybody, again and again, and their answers.
    fn serve(&self, mut streams: Vec<TcpStream>) -> io::Result<()> {
        let poll = Poll::new(&streams)?;
        let mut sent = vec![0; streams.len()];
        let mut open = vec![true; streams.len()];
        let mut fail = |number: usize, stream: &TcpStream, error: io::Error| {
            if open[number] {
                open[number] = false;
                self.breaks(format!("server of connection {number}: {error}"));
                return poll.forget(stream);
            }
            Ok(())
        };
        let mut due = Instant::now();
        while !self.stops() {
            for number in poll.wait(TICK_MS)? {
                if let Err(error) = self.hear_answers(number, &mut streams[number]) {
                    fail(number, &streams[number], error)?;
                }
            }
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + PACE;
            for (number, stream) in streams.iter_mut().enumerate() {
                match stream.write(self.reel.piece_to_call(sent[number], PIECE)) {
                    Ok(written) => sent[number] += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                    Err(error) => fail(number, stream, error)?,
                }
            }
        }
        Ok(())
    }

    fn hear_answers(&self, number: usize, stream: &mut TcpStream) -> io::Result<()> {
        let mut buffer = [0; 1024];
        let Some(heard) = read(stream, &mut buffer)? else { return Ok(()) };
        let answered = &self.members[number].answered;
        let before = answered.load(Relaxed);
        let expected = ANSWER.iter().cycle().skip(before % ANSWER.len());
        if !heard.iter().eq(expected.take(heard.len())) {
            return Err(io::Error::other(format!("wrong after {before} bytes of answers")));
        }
        answered.store(before + heard.len(), Relaxed);
        Ok(())
    }

    /// The clients' thread.
    fn view(&self, mut streams: Vec<TcpStream>) -> io::Result<()> {
        let poll = Poll::new(&streams)?;
        while !self.stops() {
            for number in poll.wait(TICK_MS)? {
                if let Err(error) = self.watch_on(number, &mut streams[number]) {
                    self.breaks(format!("client of connection {number}: {error}"));
                    poll.forget(&streams[number])?;
                }
            }
        }
        Ok(())
    }

    fn watch_on(&self, number: usize, stream: &mut TcpStream) -> io::Result<()> {
        let mut buffer = [0; PIECE];
        let Some(heard) = read(stream, &mut buffer)? else { return Ok(()) };
        let received = &self.members[number].received;
        let before = received.load(Relaxed);
        let after = before + heard.len();
        if heard != self.reel.piece(before, heard.len()) {
            return Err(io::Error::other(format!("wrong between byte {before} and byte {after}")));
        }
        for _ in self.reel.calls_before(before)..self.reel.calls_before(after) {
            stream.write_all(ANSWER)?;
        }
        received.store(after, Relaxed);
        Ok(())
    }
}

/// What is there to read; `None` when there is nothing.
fn read<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    match stream.read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(len) => Ok(Some(&buffer[..len])),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
