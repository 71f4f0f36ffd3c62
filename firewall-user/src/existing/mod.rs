//! Connections that exist when the firewall is switched on.
//!
//! A firewall that only knows what began under its eyes would cut them all. The kernel knows them in two
//! places: its connection tracking (`conntrack`) has what passes through, with both sides of a translation;
//! its own sockets (`sockets`) are what this machine takes part in, and are there without any tracking. Both
//! are read over netlink (`crate::netlink`), for the network namespace of the calling thread.
//!
//! Not found are a handshake that a listener of this machine has not finished, unless conntrack knows it (the
//! peer repeats its SYN), and what passes through while conntrack is off.

mod conntrack;
mod sockets;

use std::net::IpAddr;

use anyhow::Result;

use sockets::Sockets;

/// Largest shift that a window scale may ask for (RFC 7323 §2.3).
const MAX_SCALE: u8 = 14;

/// A connection, or an exchange of datagrams that the kernel sees as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// IP version: 4 or 6.
    pub version: u8,
    /// IP protocol. Conntrack knows others than TCP, UDP and ICMP too.
    pub protocol: u8,
    /// Packets of the side that began.
    pub original: Tuple,
    /// Packets of the side that answers, as they arrive at this machine: the source is the responder.
    /// Without address translation it is [`Self::original`] reversed.
    ///
    /// Which side began is known for certain only if conntrack saw the beginning. For a socket alone, the
    /// side whose port somebody on this machine still listens on is taken for the one that answers, and this
    /// machine for the one that began if nobody does.
    pub reply: Tuple,
    /// How far it has come.
    pub state: Progress,
    /// TCP: the window scale (RFC 7323) in force for windows that the original and the reply direction send,
    /// 0 to 14. 0 if the ends agreed on none; `None`: not known.
    pub scales: [Option<u8>; 2],
    /// Whether the responder is known to have sent something. A connected UDP socket does not tell, so that
    /// of one that conntrack does not know this is false.
    pub answered: bool,
    /// How much longer conntrack would keep it without a packet, in seconds. Unknown for a socket, and for
    /// what a flowtable forwards past conntrack.
    pub expires_in_s: Option<u32>,
    /// Who knew it.
    pub from: Origin,
}

/// From where to where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Address that it comes from.
    pub source: IpAddr,
    /// Address that it goes to.
    pub destination: IpAddr,
    /// Port of TCP, UDP, UDP-Lite, DCCP or SCTP; for an ICMP echo its identifier, as in
    /// [`firewall_common::wire::Packet`]; 0 where there is none.
    pub source_port: u16,
    /// Like [`Self::source_port`]; of an ICMP echo it is the same number.
    pub destination_port: u16,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// TCP: the handshake has begun and is not complete.
    HalfOpen,
    /// TCP: open in both directions.
    Established,
    /// TCP: one side has sent its FIN. Which one the kernel does not tell.
    HalfClosed,
    /// TCP: both sides have sent their FIN, or one reset the connection; only what is late still comes.
    Closing,
    /// Not TCP.
    Datagrams,
}

/// Who knew a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel's connection tracking, and perhaps a socket as well.
    Conntrack,
    /// Only a socket of this machine.
    Socket,
}

/// What [`existing`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The connections. None is given twice, unless the kernel's table was resized while it was read.
    pub connections: Vec<Existing>,
    /// What could not be read or is left out, and what follows from it: a sentence each, for the
    /// administrator.
    pub notes: Vec<String>,
}

/// Lists the connections of the current network namespace.
///
/// What passes only between this machine's loopback addresses is left out. A connection takes about
/// 100 bytes, nothing else grows with their number. It blocks while the kernel lists its tables.
///
/// # Errors
///
/// If the kernel has the tables but does not hand them out, above all for want of CAP_NET_ADMIN. That it has
/// none is a note: a gateway without translation or stateful rules needs no connection tracking.
pub fn existing() -> Result<Found> {
    let mut notes = Vec::new();
    // Sockets first: a connection that begins meanwhile is then at least in conntrack.
    let sockets = sockets::read(&mut notes)?;
    let tracked = conntrack::read(&mut notes)?;
    Ok(Found { connections: joined(tracked, sockets), notes })
}

/// Completes what conntrack knows from the sockets, and adds the sockets that it does not know.
fn joined(mut tracked: Vec<Existing>, mut sockets: Sockets) -> Vec<Existing> {
    for connection in &mut tracked {
        // A socket sees what comes to it after the translation of its destination and what it sends before
        // that of its source: the tuple of the direction that it sends in. Both, if both ends are here.
        let originator = sockets.take(connection.protocol, connection.original);
        let responder = sockets.take(connection.protocol, connection.reply);
        if let Some(socket) = originator {
            complete(&mut connection.scales, [socket.local_scale, socket.remote_scale]);
        }
        if let Some(socket) = responder {
            complete(&mut connection.scales, [socket.remote_scale, socket.local_scale]);
        }
    }
    tracked.extend(sockets.connections());
    tracked
}

fn complete(scales: &mut [Option<u8>; 2], known: [Option<u8>; 2]) {
    for (scale, known) in scales.iter_mut().zip(known) {
        *scale = scale.or(known);
    }
}

impl Tuple {
    /// The way back, without address translation.
    fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }

    /// Whether it never leaves this machine's loopback interface.
    fn is_loopback(&self) -> bool {
        self.source.is_loopback() && self.destination.is_loopback()
    }

    /// The IP version, unless the addresses are of different ones.
    fn version(&self) -> Option<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => Some(4),
            (IpAddr::V6(_), IpAddr::V6(_)) => Some(6),
            _ => None,
        }
    }
}

/// `scale`, if it can be one.
fn valid_scale(scale: u8) -> Option<u8> {
    (scale <= MAX_SCALE).then_some(scale)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use firewall_common::wire::ip_protocol::{TCP, UDP};

    use super::{sockets::Socket, *};

    const CLIENT: (u8, u16) = (1, 40_000);
    const GATEWAY: (u8, u16) = (2, 22);
    const TRANSLATED: (u8, u16) = (3, 50_000);

    fn tuple(source: (u8, u16), destination: (u8, u16)) -> Tuple {
        let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        Tuple {
            source: address(source.0),
            destination: address(destination.0),
            source_port: source.1,
            destination_port: destination.1,
        }
    }

    fn tracked(original: Tuple, reply: Tuple, scales: [Option<u8>; 2]) -> Existing {
        Existing {
            version: 4,
            protocol: TCP,
            original,
            reply,
            state: Progress::Established,
            scales,
            answered: true,
            expires_in_s: Some(300),
            from: Origin::Conntrack,
        }
    }

    fn socket(local_scale: u8, remote_scale: u8) -> Socket {
        Socket {
            state: Progress::Established,
            local_scale: Some(local_scale),
            remote_scale: Some(remote_scale),
        }
    }

    #[test]
    fn a_connection_that_both_know_is_given_once_with_the_socket_s_scales() {
        let there = tuple(CLIENT, GATEWAY);
        for (local, scales) in [(there, [7, 9]), (there.reversed(), [9, 7])] {
            let mut sockets = Sockets::default();
            sockets.connected.insert((TCP, local), socket(7, 9));
            let found = joined(vec![tracked(there, there.reversed(), [None, None])], sockets);
            assert_eq!(found, [tracked(there, there.reversed(), scales.map(Some))]);
        }
    }

    #[test]
    fn what_conntrack_knows_stays() {
        let there = tuple(CLIENT, GATEWAY);
        let mut sockets = Sockets::default();
        sockets.connected.insert((TCP, there), socket(7, 9));
        let found = joined(vec![tracked(there, there.reversed(), [Some(1), None])], sockets);
        assert_eq!(found, [tracked(there, there.reversed(), [Some(1), Some(9)])]);
    }

    #[test]
    fn a_socket_behind_a_translation_is_found_by_the_tuple_that_it_sends_in() {
        let original = tuple(CLIENT, TRANSLATED);
        let reply = tuple(GATEWAY, CLIENT);
        let mut sockets = Sockets::default();
        sockets.connected.insert((TCP, reply), socket(7, 9));
        let found = joined(vec![tracked(original, reply, [None, None])], sockets);
        assert_eq!(found, [tracked(original, reply, [Some(9), Some(7)])]);
    }

    #[test]
    fn a_socket_of_another_protocol_is_another_connection() {
        let there = tuple(CLIENT, GATEWAY);
        let mut sockets = Sockets::default();
        sockets.connected.insert((UDP, there), socket(7, 9));
        let found = joined(vec![tracked(there, there.reversed(), [None, None])], sockets);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].scales, [None, None]);
    }
}
