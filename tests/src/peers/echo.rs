//! UDP datagrams that come back.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{host::Host, wait};

/// The longest datagram that is sent back.
const DATAGRAM_MAX: usize = 65_535;
/// How long a receiver waits for a datagram at once.
const PATIENCE: Duration = Duration::from_millis(500);
/// Attempts of [`ask`]: each as long as [`PATIENCE`].
const ATTEMPTS: u32 = 20;

/// Sends every datagram back to where it came from.
#[derive(Debug)]
pub struct Echo<'lab> {
    socket: Arc<UdpSocket>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Not needed, but the host must live longer than a socket in it.
    _host: &'lab Host,
}

impl<'lab> Echo<'lab> {
    /// Starts it on `host`, at `address`.
    pub fn start(host: &'lab Host, address: SocketAddr) -> Result<Self> {
        let socket = host
            .run(|| UdpSocket::bind(address))?
            .with_context(|| format!("cannot listen at {address}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (socket, ended) = (Arc::new(socket), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (socket, ended) = (Arc::clone(&socket), Arc::clone(&ended));
            move || send_back(&socket, &ended)
        });
        Ok(Self { socket, ended, thread: Some(thread), _host: host })
    }

    /// Its socket, for datagrams that answer nothing.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn send_back(socket: &UdpSocket, ended: &AtomicBool) {
    let mut datagram = vec![0; DATAGRAM_MAX];
    while !ended.load(Ordering::Relaxed) {
        // A time without a datagram, and an ICMP error about one, are no end.
        if let Ok((len, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..len], from);
        }
    }
}

/// A socket at `address` of `host` that waits for a while for what it reads.
pub fn socket(host: &Host, address: SocketAddr) -> Result<UdpSocket> {
    let socket = host
        .run(|| UdpSocket::bind(address))?
        .with_context(|| format!("cannot bind to {address}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Waits for a datagram and returns where it came from.
pub fn hear(socket: &UdpSocket) -> Result<SocketAddr> {
    wait::until_within(ATTEMPTS, "a datagram comes", || Ok(socket.recv_from(&mut [0; 100])?.1))
}

/// Sends `datagram` to the echo at `address` once, and checks what comes back.
pub fn ask_once(socket: &UdpSocket, address: SocketAddr, datagram: &[u8]) -> Result<()> {
    socket.send_to(datagram, address).context("cannot send")?;
    let mut answer = vec![0; DATAGRAM_MAX];
    let (len, from) = wait::until_within(ATTEMPTS, &format!("{address} answers"), || {
        Ok(socket.recv_from(&mut answer)?)
    })?;
    ensure!(from == address, "{from} answers for {address}");
    ensure!(answer[..len] == *datagram, "{len} bytes came back, and others than were sent");
    Ok(())
}

/// As [`ask_once`], again and again until the answer comes: what was sent too long for the path, or before it was
/// ready, is lost.
pub fn ask(socket: &UdpSocket, address: SocketAddr, datagram: &[u8]) -> Result<()> {
    let mut answer = vec![0; DATAGRAM_MAX];
    wait::until_within(ATTEMPTS, &format!("{address} answers"), || {
        // An error of the path's, told by ICMP, shows here or there.
        socket.send_to(datagram, address).context("cannot send")?;
        let (len, from) = socket.recv_from(&mut answer).context("no answer")?;
        if from != address || answer[..len] != *datagram {
            bail!("{len} bytes came from {from}");
        }
        Ok(())
    })
}
