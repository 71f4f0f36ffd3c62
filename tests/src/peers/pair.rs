//! Both ends of a TCP connection in one hand, so that a test can do something in between.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
        sockopt,
    },
    time::TimeVal,
};

use crate::host::Host;

/// How long either end waits for the other. Longer than a few retransmissions.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub struct Pair {
    /// The end that began it.
    pub near: TcpStream,
    /// The end that listened.
    pub far: TcpStream,
}

impl Pair {
    /// Connects from the address `from` of `client` (port 0: any) to `to`, where `listener` takes it in.
    pub fn connect(
        client: &Host,
        from: SocketAddr,
        to: SocketAddr,
        listener: &TcpListener,
    ) -> Result<Self> {
        let near = client
            .run(|| connect_from(from, to))?
            .with_context(|| format!("cannot connect from {from} to {to}"))?;
        let (far, _) = listener.accept().context("cannot accept the connection")?;
        for stream in [&near, &far] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
        }
        Ok(Self { near, far })
    }

    /// Both ends as the end that began it sees them.
    pub fn near_ends(&self) -> [SocketAddr; 2] {
        [self.near.local_addr(), self.near.peer_addr()]
            .map(|end| end.expect("a connection has two ends"))
    }

    /// Both ends, in the same order, as the end that listened sees them.
    pub fn far_ends(&self) -> [SocketAddr; 2] {
        [self.far.peer_addr(), self.far.local_addr()]
            .map(|end| end.expect("a connection has two ends"))
    }

    /// Each end says something, and the other hears it.
    pub fn talk(&self) -> Result<()> {
        say(&self.near, &self.far, b"to").context("from the near end to the far one")?;
        say(&self.far, &self.near, b"fro").context("from the far end to the near one")
    }

    /// Both ends close in order, the near one first.
    pub fn close(self) -> Result<()> {
        drop(self.near);
        let read = (&self.far).read(&mut [0])?;
        ensure!(read == 0, "there was something left to read");
        Ok(())
    }
}

fn say(mut from: &TcpStream, mut to: &TcpStream, words: &[u8]) -> Result<()> {
    from.write_all(words)?;
    let mut heard = vec![0; words.len()];
    to.read_exact(&mut heard)?;
    ensure!(heard == words, "{heard:?} was heard");
    Ok(())
}

/// A connection from a chosen address, which std has no word for.
fn connect_from(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    // It bounds connect(2), too.
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(PATIENCE.as_secs() as i64, 0))?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(socket))
}
