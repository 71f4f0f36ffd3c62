//! A TCP connection as its two ends write it: sequence numbers follow by themselves.

use std::net::SocketAddr;

use firewall_common::flow::State;

use super::{Family, Rig, passes};
use crate::packet::Packet;

/// Near the end of the circle, so that the numbers wrap within the first replies.
const CLIENT_START: u32 = u32::MAX - 30;
const SERVER_START: u32 = 2_000_000_000;

/// One end.
#[derive(Clone, Copy, Debug)]
struct End {
    address: SocketAddr,
    /// Sequence number of the next byte that it sends.
    next: u32,
}

/// A connection from the client to the camera.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    client: End,
    server: End,
}

impl Conversation {
    /// A connection that has yet to begin. The numbers of both ends are the same for all.
    pub fn new(family: Family, source_port: u16, destination_port: u16) -> Self {
        Self {
            client: End { address: family.client_at(source_port), next: CLIENT_START },
            server: End { address: family.camera_at(destination_port), next: SERVER_START },
        }
    }

    /// A connection after its handshake, which `rig` has let pass.
    pub fn established(
        rig: &mut Rig,
        family: Family,
        source_port: u16,
        destination_port: u16,
    ) -> Self {
        let mut conversation = Self::new(family, source_port, destination_port);
        for (shows, packet, state) in [
            ("a SYN opens", conversation.syn(), State::SynSent),
            ("its answer passes", conversation.syn_ack(), State::SynReceived),
            ("the ACK completes", conversation.client_sends("A", b""), State::Established),
        ] {
            rig.expect(shows, &packet, passes(state));
        }
        conversation
    }

    /// The client's SYN.
    pub fn syn(&mut self) -> Packet {
        let packet =
            Packet::tcp(self.client.address, self.server.address).flags("S").seq(self.client.next);
        self.client.next = self.client.next.wrapping_add(1);
        packet
    }

    /// The server's SYN with ACK.
    pub fn syn_ack(&mut self) -> Packet {
        self.server_sends("SA", b"")
    }

    /// A segment of the client's; its numbers move on.
    pub fn client_sends(&mut self, flags: &str, payload: &[u8]) -> Packet {
        send(&mut self.client, &self.server, flags, payload)
    }

    /// A segment of the server's; its numbers move on.
    pub fn server_sends(&mut self, flags: &str, payload: &[u8]) -> Packet {
        send(&mut self.server, &self.client, flags, payload)
    }

    /// Sequence number of the next byte from the client.
    pub fn client_next(&self) -> u32 {
        self.client.next
    }

    /// Sequence number of the next byte from the server.
    pub fn server_next(&self) -> u32 {
        self.server.next
    }

    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.client.address
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.server.address
    }
}

fn send(from: &mut End, to: &End, flags: &str, payload: &[u8]) -> Packet {
    let packet = Packet::tcp(from.address, to.address)
        .flags(flags)
        .seq(from.next)
        .ack(to.next)
        .payload(payload);
    let control = flags.chars().filter(|flag| "SF".contains(*flag)).count();
    from.next = from.next.wrapping_add((payload.len() + control) as u32);
    packet
}
