//! A TCP connection as its two ends write it: sequence numbers follow by themselves.

use std::net::SocketAddr;

use firewall_common::flow::State;

use super::{Family, Rig, passes};
use crate::packet::Packet;

/// Near the end of the circle, so that the numbers wrap within the first replies.
const CLIENT_START: u32 = u32::MAX - 30;
const SERVER_START: u32 = 2_000_000_000;
/// What Linux begins with when the other side has said nothing of its windows.
const WINDOW: u16 = 64_240;

/// How an end begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Sequence number of its SYN.
    pub seq: u32,
    /// The window that all of its segments announce, unscaled.
    pub window: u16,
    /// The shift that its SYN announces.
    pub scale: Option<u8>,
}

/// One end.
#[derive(Clone, Copy, Debug)]
struct End {
    address: SocketAddr,
    start: Start,
    /// Sequence number of the next byte that it sends.
    next: u32,
}

/// A connection from the client to the camera.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    client: End,
    server: End,
}

impl Start {
    /// How clients begin unless a test says otherwise.
    pub const CLIENT: Self = Self { seq: CLIENT_START, window: WINDOW, scale: None };
    /// How servers begin unless a test says otherwise.
    pub const SERVER: Self = Self { seq: SERVER_START, window: WINDOW, scale: None };
}

impl End {
    fn new(address: SocketAddr, start: Start) -> Self {
        Self { address, start, next: start.seq }
    }
}

impl Conversation {
    /// A connection that has yet to begin. The numbers of both ends are the same for all.
    pub fn new(family: Family, source_port: u16, destination_port: u16) -> Self {
        Self::of(family, source_port, destination_port, [Start::CLIENT, Start::SERVER])
    }

    /// As [`Conversation::new`], with ends that begin like this: first the client.
    pub fn of(
        family: Family,
        source_port: u16,
        destination_port: u16,
        [client, server]: [Start; 2],
    ) -> Self {
        Self {
            client: End::new(family.client_at(source_port), client),
            server: End::new(family.camera_at(destination_port), server),
        }
    }

    /// As [`Conversation::new`], of any two ends.
    pub fn between(client: SocketAddr, server: SocketAddr) -> Self {
        Self::between_with(client, server, [Start::CLIENT, Start::SERVER])
    }

    /// As [`Conversation::between`], with ends that begin like this: first the client.
    pub fn between_with(
        client: SocketAddr,
        server: SocketAddr,
        [of_client, of_server]: [Start; 2],
    ) -> Self {
        Self { client: End::new(client, of_client), server: End::new(server, of_server) }
    }

    /// A connection after its handshake, which `rig` has let pass.
    pub fn established(
        rig: &mut Rig,
        family: Family,
        source_port: u16,
        destination_port: u16,
    ) -> Self {
        Self::new(family, source_port, destination_port).shaking_hands(rig)
    }

    /// This connection, yet to begin, after its handshake, which `rig` has let pass.
    #[must_use]
    pub fn shaking_hands(mut self, rig: &mut Rig) -> Self {
        for (shows, packet, state) in [
            ("a SYN opens", self.syn(), State::SynSent),
            ("its answer passes", self.syn_ack(), State::SynReceived),
            ("the ACK completes", self.client_sends("A", b""), State::Established),
        ] {
            rig.expect(shows, &packet, passes(state));
        }
        self
    }

    /// The client's SYN.
    pub fn syn(&mut self) -> Packet {
        let packet = send(&mut self.client, &self.server, "S", b"").ack(0);
        options(packet, self.client.start.scale)
    }

    /// The server's SYN with ACK.
    pub fn syn_ack(&mut self) -> Packet {
        options(self.server_sends("SA", b""), self.server.start.scale)
    }

    /// A segment of the client's; its numbers move on.
    pub fn client_sends(&mut self, flags: &str, payload: &[u8]) -> Packet {
        send(&mut self.client, &self.server, flags, payload)
    }

    /// A segment of the server's; its numbers move on.
    pub fn server_sends(&mut self, flags: &str, payload: &[u8]) -> Packet {
        send(&mut self.server, &self.client, flags, payload)
    }

    /// A segment that has the client's numbers and moves none: for a test to bend.
    pub fn as_client(&self, flags: &str) -> Packet {
        send(&mut { self.client }, &self.server, flags, b"")
    }

    /// A segment that has the server's numbers and moves none: for a test to bend.
    pub fn as_server(&self, flags: &str) -> Packet {
        send(&mut { self.server }, &self.client, flags, b"")
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
        .window(from.start.window)
        .payload(payload);
    let control = flags.chars().filter(|flag| "SF".contains(*flag)).count();
    from.next = from.next.wrapping_add((payload.len() + control) as u32);
    packet
}

/// With the options of a SYN.
fn options(packet: Packet, scale: Option<u8>) -> Packet {
    const NO_OPERATION: u8 = 1;
    const WINDOW_SCALE: u8 = 3;
    match scale {
        Some(shift) => packet.tcp_options(&[NO_OPERATION, WINDOW_SCALE, 3, shift]),
        None => packet,
    }
}
