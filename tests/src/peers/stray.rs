//! Packets that belong to nothing.

use std::net::SocketAddr;

use anyhow::Result;

use crate::{host::Host, packet::Packet};

/// Sends a single TCP ACK from `host`, which has only one interface, as if it were part of a
/// connection between `source` and `destination`.
pub fn lone_ack(host: &Host, source: SocketAddr, destination: SocketAddr) -> Result<()> {
    let ack = Packet::tcp(source, destination).flags("A").seq(1_000_001).ack(2_000_001);
    host.send_packet(host.first_interface().name, ack)
}
