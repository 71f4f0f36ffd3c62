//! A crowd: many TCP connections at once, each of which says one numbered message after the other and waits
//! for every answer. One thread at each end serves them all.
//!
//! What a firewall does to a connection shows in three ways: it breaks, an answer never comes, or it comes
//! late. All three are kept for each connection.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::poll::Poll;
use crate::{host::Host, wait};

/// Bytes of a message: the connection's number, the message's, and filling.
const MESSAGE_LEN: usize = 64;
/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a thread sleeps when there is nothing to do: it looks at whether to stop no less often.
const TICK_MS: i32 = 10;

/// Connections that talk until they are stopped.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Local and remote address of the connections, as the clients see them.
    addresses: Vec<(SocketAddr, SocketAddr)>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// From one message of a connection to its next.
    pace: Duration,
    stop: AtomicBool,
    members: Vec<Member>,
    /// Why connections broke.
    broken: Mutex<Vec<String>>,
}

/// What is known of one connection.
#[derive(Debug, Default)]
struct Member {
    sent: AtomicU64,
    answered: AtomicU64,
    /// When the message that waits for its answer was sent, microseconds since the start, plus 1; 0: none waits.
    waits_since: AtomicU64,
    /// The longest time an answer took since last asked, microseconds.
    longest: AtomicU64,
}

/// How a crowd fares.
#[derive(Clone, Debug)]
pub struct Report {
    /// Answers of all connections, since they began.
    pub answered: u64,
    /// Answers of the connection that got the fewest, since it began.
    pub fewest: u64,
    /// Messages that wait for their answer at this moment.
    pub waiting: usize,
    /// The longest time that any answer took since last asked, waiting ones included.
    pub longest: Duration,
    /// Why connections broke, one line each.
    pub broken: Vec<String>,
}

impl Crowd {
    /// `count` connections from `client` to a listener that is opened on `server` at `address`, each of which
    /// sends a message every `pace`, or when its answer came if that is later.
    pub fn gather(
        client: &Host,
        server: &Host,
        address: SocketAddr,
        count: usize,
        pace: Duration,
    ) -> Result<Self> {
        let listener = server
            .run(|| TcpListener::bind(address))?
            .with_context(|| format!("cannot listen at {address}"))?;
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for number in 0..count {
            let stream = client
                .run(|| TcpStream::connect_timeout(&address, PATIENCE))?
                .with_context(|| format!("connection {number} to {address}"))?;
            near.push(stream);
            far.push(accept(&listener).with_context(|| format!("connection {number}"))?);
        }
        Self::of(near, far, pace)
    }

    /// The connections whose ends are `near` and, in the same order, `far`.
    pub fn of(near: Vec<TcpStream>, far: Vec<TcpStream>, pace: Duration) -> Result<Self> {
        let mut addresses = Vec::new();
        for stream in &near {
            addresses.push((stream.local_addr()?, stream.peer_addr()?));
        }
        for stream in near.iter().chain(&far) {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
        }
        let shared = Arc::new(Shared {
            start: Instant::now(),
            pace,
            stop: AtomicBool::new(false),
            members: near.iter().map(|_| Member::default()).collect(),
            broken: Mutex::default(),
        });
        let servant = Arc::clone(&shared);
        let talker = Arc::clone(&shared);
        let threads = vec![
            thread::spawn(move || servant.watch("the servers'", servant.answer(far))),
            thread::spawn(move || talker.watch("the clients'", talker.talk(near))),
        ];
        Ok(Self { shared, threads, addresses })
    }

    /// Local and remote address of each connection, as its client sees them.
    pub fn addresses(&self) -> &[(SocketAddr, SocketAddr)] {
        &self.addresses
    }

    /// How it fares. Begins to look for the longest time of an answer anew.
    pub fn report(&self) -> Report {
        let members = &self.shared.members;
        let now = self.shared.now();
        let mut longest = 0;
        let mut waiting = 0;
        for member in members {
            longest = longest.max(member.longest.swap(0, Relaxed));
            let since = member.waits_since.load(Relaxed);
            if since != 0 {
                waiting += 1;
                longest = longest.max(now.saturating_sub(since));
            }
        }
        let answered = || members.iter().map(|member| member.answered.load(Relaxed));
        Report {
            answered: answered().sum(),
            fewest: answered().min().unwrap_or(0),
            waiting,
            longest: Duration::from_micros(longest),
            broken: self.broken(),
        }
    }

    /// Waits until every connection got `more` answers more than it has now, in at most `attempts` of `wait`.
    pub fn goes_on(&self, more: u64, attempts: u32) -> Result<()> {
        let answered = |member: &Member| member.answered.load(Relaxed);
        let before: Vec<_> = self.shared.members.iter().map(answered).collect();
        wait::until_within(attempts, &format!("every connection got {more} answers more"), || {
            let broken = self.broken();
            ensure!(broken.is_empty(), "{} broke: {:?}", broken.len(), broken.first());
            let members = self.shared.members.iter().zip(&before);
            let late: Vec<_> = members
                .enumerate()
                .filter(|(_, (member, before))| answered(member) < *before + more)
                .map(|(number, _)| self.addresses[number])
                .collect();
            ensure!(late.is_empty(), "{} have not, the first of them {:?}", late.len(), late[0]);
            Ok(())
        })
    }

    /// Ends it and says how it fared.
    pub fn finish(mut self) -> Report {
        self.stop();
        self.report()
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }

    fn broken(&self) -> Vec<String> {
        self.shared.broken.lock().map_or_else(|_| vec!["a thread panicked".into()], |b| b.clone())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1
    }

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

    /// The servers' thread: every byte goes back.
    fn answer(&self, mut streams: Vec<TcpStream>) -> io::Result<()> {
        let poll = Poll::new(&streams)?;
        let mut buffer = [0; 64 * MESSAGE_LEN];
        while !self.stops() {
            for number in poll.wait(TICK_MS)? {
                let stream = &mut streams[number];
                let result = match stream.read(&mut buffer) {
                    Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(len) => stream.write_all(&buffer[..len]),
                    Err(error) => Err(error),
                };
                if let Err(error) = result
                    && error.kind() != io::ErrorKind::WouldBlock
                {
                    self.breaks(format!("server of connection {number}: {error}"));
                    poll.forget(stream)?;
                }
            }
        }
        Ok(())
    }

    /// The clients' thread.
    fn talk(&self, mut streams: Vec<TcpStream>) -> io::Result<()> {
        let poll = Poll::new(&streams)?;
        let mut open = vec![true; streams.len()];
        let mut partial: Vec<Vec<u8>> = streams.iter().map(|_| Vec::new()).collect();
        let mut buffer = [0; 4 * MESSAGE_LEN];
        // Spread over one pace, so that they do not all speak at once.
        let count = streams.len().max(1) as u32;
        let begin = Instant::now();
        let mut due: Vec<_> =
            (0..streams.len()).map(|n| begin + self.pace * n as u32 / count).collect();
        while !self.stops() {
            for number in poll.wait(1)? {
                let result = self.hear(number, &mut streams[number], &mut buffer, &mut partial);
                if let Err(error) = result {
                    self.breaks(format!("client of connection {number}: {error}"));
                    open[number] = false;
                    poll.forget(&streams[number])?;
                }
            }
            let now = Instant::now();
            for (number, stream) in streams.iter_mut().enumerate() {
                let member = &self.members[number];
                let is_free = member.waits_since.load(Relaxed) == 0;
                if !open[number] || !is_free || due[number] > now {
                    continue;
                }
                due[number] = now + self.pace;
                let message = message(number, member.sent.fetch_add(1, Relaxed));
                member.waits_since.store(self.now(), Relaxed);
                if let Err(error) = stream.write_all(&message) {
                    self.breaks(format!("client of connection {number}: {error}"));
                    open[number] = false;
                }
            }
        }
        Ok(())
    }

    /// Takes in what came of an answer.
    fn hear(
        &self,
        number: usize,
        stream: &mut TcpStream,
        buffer: &mut [u8],
        partial: &mut [Vec<u8>],
    ) -> io::Result<()> {
        let len = match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let answer = &mut partial[number];
        answer.extend_from_slice(&buffer[..len]);
        if answer.len() < MESSAGE_LEN {
            return Ok(());
        }
        let member = &self.members[number];
        let answered = member.answered.load(Relaxed);
        if answer[..] != message(number, answered) {
            return Err(io::Error::other(format!("answer {answered} is another one")));
        }
        answer.clear();
        let since = member.waits_since.swap(0, Relaxed);
        member.longest.fetch_max(self.now().saturating_sub(since), Relaxed);
        member.answered.fetch_add(1, Relaxed);
        Ok(())
    }
}

fn message(connection: usize, number: u64) -> [u8; MESSAGE_LEN] {
    let mut message = [b'.'; MESSAGE_LEN];
    message[..8].copy_from_slice(&(connection as u64).to_be_bytes());
    message[8..16].copy_from_slice(&number.to_be_bytes());
    message
}

/// The next connection, or an error when none comes.
pub(super) fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let (stream, _) = wait::until("a connection is accepted", || Ok(listener.accept()?))?;
    Ok(stream)
}
