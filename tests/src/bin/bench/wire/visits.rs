//! Short connections, and one that goes back and forth: small clients and servers in the lab.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lab::Host;
use nix::sys::socket::{self, Shutdown, setsockopt, sockopt};

/// How long either end waits for the other.
const PATIENCE: Duration = Duration::from_secs(2);
/// Clients at the same time, and as many threads that serve them.
const CLIENTS: usize = 4;

/// Connections that were made.
#[derive(Clone, Copy)]
pub(super) struct Visits {
    pub(super) count: u64,
    took: Duration,
}

impl Visits {
    pub(super) fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }
}

/// Connections that are made one after the other for `time` by each of a few clients: each connects, sends a byte, has
/// it back, and resets the connection, so that no end has to remember it.
pub(super) fn visit_all(
    client: &Host,
    server: &Host,
    addresses: &[SocketAddr],
    time: Duration,
) -> Result<Visits> {
    let [first, ..] = addresses else { anyhow::bail!("nobody to visit") };
    let any = SocketAddr::new([0, 0, 0, 0].into(), first.port());
    let listener = server.run(|| TcpListener::bind(any))?.context("cannot listen")?;
    thread::scope(|scope| {
        let servers: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| serve(&listener, echo_once))).collect();
        let begin = Instant::now();
        let made = client.run(|| {
            thread::scope(|scope| {
                // Each goes to addresses of its own.
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|first| {
                        let own = addresses.iter().copied().skip(first).step_by(CLIENTS);
                        scope.spawn(move || visit_for(own.cycle(), begin + time))
                    })
                    .collect();
                clients.into_iter().map(join).sum::<Result<u64>>()
            })
        });
        let took = begin.elapsed();
        stop(&listener)?;
        servers.into_iter().try_for_each(join)?;
        Ok(Visits { count: made??, took })
    })
}

fn visit_for(mut addresses: impl Iterator<Item = SocketAddr>, end: Instant) -> Result<u64> {
    let mut made = 0;
    while Instant::now() < end
        && let Some(address) = addresses.next()
    {
        visit(address).with_context(|| format!("visit {made}, of {address}"))?;
        made += 1;
    }
    Ok(made)
}

fn visit(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    prepare(&stream)?;
    setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(())
}

/// The times of requests and responses of 64 bytes, one after the other over one connection, for `time`.
pub(super) fn round_trips(
    client: &Host,
    server: &Host,
    address: SocketAddr,
    time: Duration,
) -> Result<Vec<Duration>> {
    let listener = server.run(|| TcpListener::bind(address))?.context("cannot listen")?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&listener, echo_all));
        let taken = client.run(|| ask_for(address, time)).and_then(|taken| taken);
        stop(&listener)?;
        join(serving)?;
        taken
    })
}

fn ask_for(address: SocketAddr, time: Duration) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    prepare(&stream)?;
    let mut taken = Vec::new();
    let begin = Instant::now();
    let mut now = begin;
    while now - begin < time {
        let mut message = [0; MESSAGE_LEN];
        stream.write_all(&message)?;
        stream.read_exact(&mut message).context("waiting for a response")?;
        let then = Instant::now();
        taken.push(then - now);
        now = then;
    }
    Ok(taken)
}

const MESSAGE_LEN: usize = 64;

/// Serves one connection after the other until the listener is stopped.
fn serve(listener: &TcpListener, echo: impl Fn(TcpStream) -> io::Result<()>) -> Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // What `stop` makes of it.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(()),
            Err(error) => return Err(error).context("cannot accept a connection"),
        };
        prepare(&stream)?;
        match echo(stream) {
            // That is how clients leave.
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                return Err(error).context("while serving");
            }
            _ => {}
        }
    }
}

fn echo_once(mut stream: TcpStream) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    stream.write_all(&byte)?;
    // Until the client resets the connection.
    stream.read_exact(&mut byte)
}

fn echo_all(mut stream: TcpStream) -> io::Result<()> {
    let mut message = [0; MESSAGE_LEN];
    loop {
        match stream.read_exact(&mut message) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        stream.write_all(&message)?;
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// Ends the waiting of everyone who accepts.
fn stop(listener: &TcpListener) -> Result<()> {
    socket::shutdown(listener.as_raw_fd(), Shutdown::Both).context("cannot stop listening")
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
