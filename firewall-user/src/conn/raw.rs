//! Sending IP packets that are not from here: raw sockets, which take the header as it is (raw(7), and ipv6(7)
//! for `IPPROTO_RAW`). They leave by the gateway's routes and pass the egress hook as any packet does.

use std::{
    net::{IpAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto,
    socket,
};

use super::Reset;

/// The sockets, of each family when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Sender {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl Sender {
    /// Sends a RST. `interface`: by which one a link-local address is reached.
    pub(super) fn send(&mut self, reset: &Reset, interface: u32) -> Result<()> {
        let packet = reset.packet();
        let flags = MsgFlags::MSG_DONTWAIT;
        let sent = match reset.to.ip() {
            IpAddr::V4(to) => {
                let socket = open(&mut self.v4, AddressFamily::Inet)?;
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendto(socket.as_raw_fd(), &packet, &to, flags)
            }
            IpAddr::V6(to) => {
                let socket = open(&mut self.v6, AddressFamily::Inet6)?;
                let scope = if to.is_unicast_link_local() { interface } else { 0 };
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, scope));
                sendto(socket.as_raw_fd(), &packet, &to, flags)
            }
        };
        let Reset { from, to, .. } = reset;
        sent.with_context(|| format!("cannot send a RST from {from} to {to}"))?;
        Ok(())
    }
}

fn open(known: &mut Option<OwnedFd>, family: AddressFamily) -> Result<&OwnedFd> {
    if known.is_none() {
        let opened = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)
            .context("cannot open a raw socket")?;
        *known = Some(opened);
    }
    known.as_ref().context("no raw socket")
}
