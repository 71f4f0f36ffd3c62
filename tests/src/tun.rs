//! A VPN without the cryptography: a tun device at each end, and threads that carry packets from one to the other, as a
//! VPN's process does over the network between.
//!
//! Sources: Documentation/networking/tuntap.rst and include/uapi/linux/if_tun.h.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::fd::AsRawFd as _,
    thread,
};

use anyhow::{Context as _, Result};

use crate::host::Host;

/// Room for the largest packet, and for what offloads say about it (`struct virtio_net_hdr`).
const PACKET_MAX: usize = 10 + 65_535;
/// Length of what stands before each packet where its protocol is told (`struct tun_pi`).
const INFO_BYTES: usize = 4;

/// What stands before each packet that a tun device hands out or takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// What is left to be done about checksum and segmentation, so that large segments stay whole.
    Offloads,
    /// The packet's protocol.
    Protocol,
}

/// A tun device; it goes when this is dropped.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl Tun {
    /// Makes the device `name` on `host`, which is to bring it up.
    pub fn create(host: &Host, name: &str, before: Before) -> Result<Self> {
        let file = host
            .run(|| open(name, before))?
            .with_context(|| format!("cannot make the tun device {name} on the {}", host.role()))?;
        Ok(Self { file })
    }

    /// Lets `packet` come in, an IP packet by its bytes, as one of the protocol with the Ethernet type `ether_type`.
    /// For devices that tell the protocol.
    pub fn bring_in(&self, ether_type: u16, packet: &[u8]) -> Result<()> {
        let mut bytes = [0; INFO_BYTES].to_vec();
        bytes[2..].copy_from_slice(&ether_type.to_be_bytes());
        bytes.extend(packet);
        (&self.file).write_all(&bytes).context("the tun device does not take the packet")
    }
}

/// Carries packets between two devices until they go.
pub(crate) fn carry(left: Tun, right: Tun) -> Result<()> {
    let clone = |tun: &Tun| tun.file.try_clone().context("cannot share a tun device");
    let back = (clone(&right)?, clone(&left)?);
    for (from, to) in [(left.file, right.file), back] {
        thread::spawn(move || carry_one_way(&from, &to));
    }
    Ok(())
}

fn carry_one_way(mut from: &File, mut to: &File) {
    let mut packet = vec![0; PACKET_MAX];
    // An error tells that the device is gone.
    while let Ok(len) = from.read(&mut packet) {
        // Lost, as on any network, if the other end is not up yet.
        let _ = to.write(&packet[..len]);
    }
}

fn open(name: &str, before: Before) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let flags = match before {
        Before::Nothing => libc::IFF_NO_PI,
        Before::Offloads => libc::IFF_NO_PI | libc::IFF_VNET_HDR,
        Before::Protocol => 0,
    };
    // SAFETY: numbers and a name, of which 0 is one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | flags) as libc::c_short;
    // SAFETY: the request reads and writes an ifreq.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    if before == Before::Offloads {
        let all = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        // SAFETY: the argument is a number.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, all) })?;
    }
    Ok(file)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
