//! Packets that belong to nothing.

use std::net::SocketAddr;

use anyhow::Result;

use firewall_common::reason::Reason;

use crate::{
    fwx::{Event, Fwx},
    host::Host,
    packet::Packet,
    topology::Lab,
};

/// Sends a single TCP ACK from `host`, which has only one interface, as if it were part of a
/// connection between `source` and `destination`.
pub fn lone_ack(host: &Host, source: SocketAddr, destination: SocketAddr) -> Result<()> {
    let ack = Packet::tcp(source, destination).flags("A").seq(1_000_001).ack(2_000_001);
    host.send_packet(host.first_interface().name, ack)
}

/// Sends a [`lone_ack`] from the client's `port` to the RTSP port of the camera, and waits for the event of its drop.
pub fn dropped_ack(lab: &Lab, fwx: &Fwx<'_>, port: u16) -> Result<Event> {
    const RTSP: u16 = 554;
    lone_ack(&lab.client, lab.client.socket_v4(port), lab.camera.socket_v4(RTSP))?;
    fwx.wait_for_event("the lone ACK", |event| {
        event.is_drop(Reason::TcpNotSyn.name()) && event.is_between_ports(port, RTSP)
    })
}
