//! Frames sent past the network stack, through an AF_PACKET socket.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// Sends frames out of one interface. To close it takes the kernel an RCU grace period, which a busy CPU puts off for
/// milliseconds: who sends many frames at a pace opens it once.
pub(crate) struct Sender {
    socket: OwnedFd,
    interface: String,
    address: libc::sockaddr_ll,
}

impl Sender {
    /// Out of `interface` of this thread's network namespace; it may be used from any.
    pub(crate) fn open(interface: &str) -> Result<Self> {
        let index = if_nametoindex(interface)
            .with_context(|| format!("there is no interface {interface}"))?
            .cast_signed();
        // Protocol 0: nothing is received.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
            .context("cannot open a packet socket")?;
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::sa_family_t;
        address.sll_ifindex = index;
        Ok(Self { socket, interface: interface.to_owned(), address })
    }

    /// Sends `frame`, beginning with its Ethernet header.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        let Self { socket, interface, address } = self;
        // SAFETY: the pointers and lengths describe `frame` and `address`, both alive across the call.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const *address).cast(),
                size_of_val(address) as libc::socklen_t,
            )
        };
        match usize::try_from(sent) {
            Err(_) => Err(io::Error::last_os_error())
                .with_context(|| format!("cannot send {} bytes out of {interface}", frame.len())),
            Ok(sent) if sent != frame.len() => {
                bail!("sent {sent} of {} bytes out of {interface}", frame.len())
            }
            Ok(_) => Ok(()),
        }
    }
}
