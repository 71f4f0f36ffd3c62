//! A flow that ended, as its record tells it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::{event::EventKind, wire::ip_protocol};

use super::end::EndReason;
use crate::{event::Event, export::clock};

/// A flow that ended. Of two values the first is about the direction of the end that began it, the second about the
/// other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// Its number in events.
    pub(super) id: u64,
    /// When it began and ended, milliseconds since 1970; the end is not before the beginning.
    pub(super) times: [u64; 2],
    pub(super) addresses: Addresses,
    /// 0 for protocols without ports.
    pub(super) ports: [u16; 2],
    pub(super) ip_protocol: u8,
    /// Of IP packets, with their headers.
    pub(super) octets: [u64; 2],
    pub(super) packets: [u64; 2],
    pub(super) end_reason: EndReason,
    /// Whether its beginning was seen, so that it is known which end began it.
    pub(super) has_initiator: bool,
    /// Where the packet was caught that ended it or, if it ended in silence, that began it.
    pub(super) interface: String,
    /// What the policy calls its protocol.
    pub(super) protocol: String,
}

/// The addresses of its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    V4([Ipv4Addr; 2]),
    V6([Ipv6Addr; 2]),
}

/// The end of a flow that says too little about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event of a flow's end has no {0}")]
pub(super) struct Incomplete(&'static str);

impl Flow {
    /// The flow whose end `event` tells. `None`: it tells of something else.
    pub(super) fn of(event: &Event) -> Result<Option<Self>, Incomplete> {
        let Some(kind @ (EventKind::ConnectionClosed | EventKind::ConnectionKilled)) = event.kind()
        else {
            return Ok(None);
        };
        let totals = event.totals.as_ref().ok_or(Incomplete("totals"))?;
        let milliseconds = |time: &str| {
            clock::nanoseconds(time).map(|ns| ns / 1_000_000).ok_or(Incomplete("time"))
        };
        let (start, end) = (milliseconds(&totals.started)?, milliseconds(&event.timestamp)?);
        let [source, destination] = event.client_and_server();
        Ok(Some(Self {
            id: event.flow_id.ok_or(Incomplete("number"))?,
            // The clock may have been set back meanwhile.
            times: [start, end.max(start)],
            addresses: addresses(source.0, destination.0)?,
            ports: [source.1, destination.1].map(Option::unwrap_or_default),
            ip_protocol: event
                .transport
                .as_deref()
                .and_then(ip_protocol)
                .ok_or(Incomplete("protocol"))?,
            octets: totals.bytes,
            packets: totals.packets,
            end_reason: EndReason::of(kind, event.reason()),
            has_initiator: !event.adopted,
            interface: event.interface.clone().unwrap_or_default(),
            protocol: event.protocol.clone().unwrap_or_default(),
        }))
    }
}

fn addresses(source: Option<IpAddr>, destination: Option<IpAddr>) -> Result<Addresses, Incomplete> {
    match (source, destination) {
        (Some(IpAddr::V4(source)), Some(IpAddr::V4(destination))) => {
            Ok(Addresses::V4([source, destination]))
        }
        (Some(IpAddr::V6(source)), Some(IpAddr::V6(destination))) => {
            Ok(Addresses::V6([source, destination]))
        }
        _ => Err(Incomplete("two addresses of one family")),
    }
}

/// The number of an IP protocol, as events call it.
fn ip_protocol(transport: &str) -> Option<u8> {
    match transport {
        "tcp" => Some(ip_protocol::TCP),
        "udp" => Some(ip_protocol::UDP),
        "icmp" => Some(ip_protocol::ICMP),
        "icmpv6" => Some(ip_protocol::ICMPV6),
        number => number.parse().ok(),
    }
}
