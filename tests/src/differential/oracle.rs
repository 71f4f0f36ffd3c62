//! Asks the kernel's connection tracking what it lets pass, with liberal tracking off: a gateway that drops
//! what is invalid (`nf_conntrack_proto_tcp.c`) and forwards everything else.
//!
//! Frames are injected at one end of the lab and seen, or not, at the other. No verdict is taken by
//! waiting: after each conversation a datagram goes either way, and when it comes out all before it is
//! decided. For one thread on one CPU sends all, so all goes through that CPU's one queue, in order
//! (`netif_rx`, `net/core/dev.c`).

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    net::if_::if_nametoindex,
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
    unistd::Pid,
};

use super::segment::{Side, number_of};
use crate::{Host, Lab, Mac, Packet, replaying::Family, tool};

/// The gateway's rules. What is not invalid is a new connection (by a SYN, for others are not picked up)
/// or belongs to one.
const RULES: &str = "
table inet differential {
  counter refused {}
  chain forward {
    type filter hook forward priority filter; policy drop;
    meta l4proto udp accept
    ct state invalid counter name refused drop
    ct state new,established,related accept
  }
}
";

/// Below /proc/sys/net of the gateway.
const SETTINGS: [(&str, &str); 4] = [
    ("netfilter/nf_conntrack_tcp_loose", "0"),
    ("netfilter/nf_conntrack_tcp_be_liberal", "0"),
    ("netfilter/nf_conntrack_tcp_ignore_invalid_rst", "0"),
    ("netfilter/nf_conntrack_checksum", "1"),
];

/// Ports of the datagrams between conversations.
const MARKER_PORTS: (u16, u16) = (9, 9);
/// Conversations go through in bursts of one, far fewer bytes than this.
const RECEIVE_BUFFER: usize = 16 << 20;
/// A frame that has not come after so long is lost: the machine is stuck, no verdict.
const PATIENCE_S: i64 = 20;
const LONGEST_FRAME: usize = 2_048;

/// A gateway that tracks connections, and the wires to both its sides.
#[derive(Debug)]
pub struct Oracle {
    wires: [Wire; 2],
    markers: u32,
    lab: Lab,
}

impl Oracle {
    /// A lab of its own.
    pub fn new() -> Result<Self> {
        let lab = Lab::single()?;
        for end in [&lab.client, &lab.camera] {
            // Frames come out as they went in: one by one, and nobody answers them.
            end.ethtool_features("eth0", &["gro", "off"])?;
            end.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
            end.ip("address flush dev eth0\n")?;
        }
        let gateway = lab.gateway();
        for (device, end) in [("lan0", &lab.client), ("wan0", &lab.camera)] {
            let interface = end.first_interface();
            gateway.ethtool_features(device, &["gro", "off"])?;
            for address in [interface.ipv4.to_string(), interface.ipv6.to_string()] {
                let mac = interface.mac;
                gateway.ip(&format!(
                    "neigh replace {address} lladdr {mac} dev {device} nud permanent\n"
                ))?;
            }
        }
        tool::run_with_input(gateway.command("nft").args(["-f", "-"]), RULES)?;
        for (setting, value) in SETTINGS {
            gateway.sysctl(setting, value)?;
        }
        Ok(Self { wires: [Wire::open(&lab.client)?, Wire::open(&lab.camera)?], markers: 0, lab })
    }

    /// Which frames of each conversation pass. A frame has a number from
    /// [`super::Conversation::frame`], which is its index.
    pub fn verdicts(&mut self, conversations: &[Vec<(Side, Vec<u8>)>]) -> Result<Vec<Vec<bool>>> {
        let before = self.refused()?;
        // A thread of its own, for its CPU is fixed.
        let verdicts: Vec<_> = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                stay_on_this_cpu()?;
                conversations.iter().map(|frames| self.ask(frames)).collect::<Result<Vec<_>>>()
            });
            asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let lost = verdicts.iter().flatten().filter(|passes| !**passes).count() as u64;
        let refused = self.refused()? - before;
        ensure!(lost == refused, "{lost} frames did not come out, and {refused} were refused");
        Ok(verdicts)
    }

    fn ask(&mut self, frames: &[(Side, Vec<u8>)]) -> Result<Vec<bool>> {
        for (side, frame) in frames {
            self.wires[*side as usize].send(frame)?;
        }
        self.markers += 1;
        for side in [Side::Left, Side::Right] {
            let (client, camera) =
                (Family::V4.client_at(MARKER_PORTS.0), Family::V4.camera_at(MARKER_PORTS.1));
            let (from, to) = if side == Side::Left { (client, camera) } else { (camera, client) };
            let marker = Packet::udp(from, to).payload(self.markers.to_be_bytes());
            self.wires[side as usize].send(&marker.build())?;
        }
        let mut passes = vec![false; frames.len()];
        for wire in &self.wires {
            for number in wire.numbers_until(self.markers)? {
                let seen = passes.get_mut(number).context("a frame that was not sent")?;
                ensure!(!*seen, "frame {number} came out twice");
                *seen = true;
            }
        }
        Ok(passes)
    }

    /// How many frames the gateway dropped as invalid.
    fn refused(&self) -> Result<u64> {
        let gateway = self.lab.gateway();
        let mut command = gateway.command("nft");
        let text =
            gateway.output(command.args(["list", "counter", "inet", "differential", "refused"]))?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        words
            .next()
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("no count in {text}"))
    }
}

/// Where frames go in and come out, at one end.
#[derive(Debug)]
struct Wire {
    socket: OwnedFd,
    mac: Mac,
    peer_mac: Mac,
}

impl Wire {
    fn open(host: &Host) -> Result<Self> {
        let interface = host.first_interface();
        let socket = host.run(|| packet_socket(interface.name))??;
        Ok(Self { socket, mac: interface.mac, peer_mac: interface.peer_mac })
    }

    /// Sends a frame to the gateway, whoever it was for.
    fn send(&self, frame: &[u8]) -> Result<()> {
        let frame = [&self.peer_mac.0, &self.mac.0, &frame[12..]].concat();
        let sent = send(self.socket.as_raw_fd(), &frame, MsgFlags::empty())
            .with_context(|| format!("cannot send {} bytes", frame.len()))?;
        ensure!(sent == frame.len(), "sent {sent} of {} bytes", frame.len());
        Ok(())
    }

    /// The numbers of the TCP segments that come out before `marker`.
    fn numbers_until(&self, marker: u32) -> Result<Vec<usize>> {
        let mut numbers = Vec::new();
        let mut buffer = [0; LONGEST_FRAME];
        loop {
            let len = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
                .with_context(|| format!("marker {marker} did not come out"))?;
            let frame = &buffer[..len];
            if frame[..6] != self.mac.0 {
                continue; // the gateway's own, to many
            }
            numbers.extend(number_of(frame));
            if marker_of(frame) == Some(marker) {
                return Ok(numbers);
            }
        }
    }
}

/// A socket that sends frames out of `interface` of this thread's network namespace and receives what
/// comes in there.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let all = (libc::ETH_P_ALL as u16).to_be();
    let index = if_nametoindex(interface)
        .with_context(|| format!("there is no interface {interface}"))?
        .cast_signed();
    // Protocol 0: nothing is received before it is bound.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .context("cannot open a packet socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_S))?;

    let yes: libc::c_int = 1;
    // SAFETY: the pointer and the length are those of `yes`, which is alive across the call.
    let ignores = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = all;
    address.sll_ifindex = index;
    // SAFETY: the pointer and the length are those of `address`, which is alive across the call.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if ignores != 0 || bound != 0 {
        bail!("cannot listen on {interface}: {}", io::Error::last_os_error());
    }
    Ok(socket)
}

/// The number of the marker that `frame` is, if it is one.
fn marker_of(frame: &[u8]) -> Option<u32> {
    const UDP_OVER_IPV4: [u8; 2] = [0x08, 0x00];
    const PAYLOAD: std::ops::Range<usize> = 42..46;
    const PROTOCOL_UDP: u8 = 17;
    let is_udp = frame.get(12..14)? == UDP_OVER_IPV4 && *frame.get(23)? == PROTOCOL_UDP;
    is_udp.then_some(u32::from_be_bytes(frame.get(PAYLOAD)?.try_into().ok()?))
}

/// Fixes the calling thread to the CPU that it is on.
fn stay_on_this_cpu() -> Result<()> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu().context("which CPU is this?")?)?;
    sched_setaffinity(Pid::from_raw(0), &one).context("cannot fix a thread to a CPU")
}
