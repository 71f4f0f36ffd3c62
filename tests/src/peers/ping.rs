//! ICMP echo, by the kernel's own sockets for it.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, socket,
};

use crate::host::Host;

const PATIENCE: Duration = Duration::from_secs(10);
const ECHO_REQUEST: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];

/// One that asks, with an identifier of its own.
#[derive(Debug)]
pub struct Pinger {
    socket: UdpSocket,
    sequence: u16,
}

impl Pinger {
    /// On `host`; the port of `from` is the identifier.
    pub fn new(host: &Host, from: SocketAddr) -> Result<Self> {
        // Who may: everybody.
        host.sysctl("ipv4/ping_group_range", "0 2147483647")?;
        let socket = host.run(|| {
            let (family, protocol) = if from.is_ipv4() {
                (AddressFamily::Inet, SockProtocol::Icmp)
            } else {
                (AddressFamily::Inet6, SockProtocol::IcmpV6)
            };
            let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
            Ok::<_, nix::Error>(UdpSocket::from(socket))
        })?;
        let socket = socket.context("cannot open a socket for ICMP echo")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks `to`, whose port does not matter, and waits for the answer. `data` comes with both.
    pub fn ask(&mut self, to: SocketAddr, data: &[u8]) -> Result<()> {
        let family = usize::from(to.is_ipv6());
        self.sequence += 1;
        let [high, low] = self.sequence.to_be_bytes();
        // The kernel sets checksum and identifier.
        let mut message = vec![ECHO_REQUEST[family], 0, 0, 0, 0, 0, high, low];
        message.extend(data);
        self.socket.send_to(&message, SocketAddr::new(to.ip(), 0)).context("cannot send")?;
        let mut answer = vec![0; message.len() + 1];
        let (len, from) = self.socket.recv_from(&mut answer).context("no answer")?;
        ensure!(from.ip() == to.ip(), "{from} answers for {to}");
        ensure!(answer[0] == ECHO_REPLY[family], "an answer of type {}", answer[0]);
        ensure!(answer[6..len] == message[6..], "the answer is to another question");
        Ok(())
    }
}
