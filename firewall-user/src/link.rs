//! Network interfaces, as the kernel describes them over netlink.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType};

use crate::{attach::Mode, bad_input};

/// An interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// What kind of virtual link it is, e.g. `veth`; `None` for a network card.
    pub kind: Option<String>,
    /// Largest IP packet it carries, in bytes.
    pub mtu: u32,
    /// What its packets begin with.
    pub begins: Begins,
}

/// What packets begin with where programs of traffic control see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// An Ethernet header.
    Ethernet,
    /// The IP header: tun, WireGuard, IP in IP, GRE between two ends, PPP.
    Ip,
    /// Something else, or not always the same.
    Otherwise,
}

impl Interface {
    /// Whether the interface is of a kind that programs can be attached to, in this mode.
    ///
    /// # Errors
    ///
    /// [`crate::error::BadInput`] with what to do.
    pub fn check(&self, mode: Mode) -> Result<()> {
        let name = &self.name;
        match (self.begins, mode) {
            (Begins::Otherwise, _) => bad_input!(
                "{name} carries packets that begin with neither an Ethernet nor an IP header, or not always with \
                 the same one (IPsec's xfrm and vti interfaces, GRE without one remote end, InfiniBand), which fwx \
                 cannot read"
            ),
            (Begins::Ip, Mode::Native | Mode::Generic) => bad_input!(
                "{name} carries packets without an Ethernet header (tun, WireGuard, PPP and the like), for which \
                 there is no XDP: choose --mode auto or tc"
            ),
            _ => Ok(()),
        }
    }
}

/// Describes the interface called `name`.
///
/// # Errors
///
/// [`crate::error::BadInput`] if there is none; the message names those that there are.
pub async fn find(name: &str) -> Result<Interface> {
    let all = all().await?;
    if let Some(found) = all.iter().find(|interface| interface.name == name) {
        return Ok(found.clone());
    }
    bad_input!("there is no interface {name:?} here; there are: {}", names(&all))
}

/// What they are called.
pub fn names(interfaces: &[Interface]) -> String {
    let names: Vec<_> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    names.join(", ")
}

/// All interfaces of this network namespace.
pub async fn all() -> Result<Vec<Interface>> {
    use futures_util::TryStreamExt as _;

    let (connection, handle, _) =
        rtnetlink::new_connection().context("cannot open a netlink socket")?;
    let worker = tokio::spawn(connection);
    let messages: Result<Vec<_>, _> = handle.link().get().execute().try_collect().await;
    worker.abort();
    let messages = messages.context("cannot list the interfaces")?;
    Ok(messages
        .into_iter()
        .map(|message| {
            let mut interface = Interface {
                name: String::new(),
                index: message.header.index,
                kind: None,
                mtu: 0,
                begins: Begins::Otherwise,
            };
            let mut peer = Vec::new();
            for attribute in message.attributes {
                match attribute {
                    LinkAttribute::Broadcast(address) => peer = address,
                    LinkAttribute::IfName(name) => interface.name = name,
                    LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                    LinkAttribute::LinkInfo(infos) => {
                        interface.kind = infos.iter().find_map(kind).or(interface.kind);
                    }
                    _ => {}
                }
            }
            let layer = message.header.link_layer_type;
            interface.begins = begins(layer, interface.kind.as_deref(), &peer);
            interface
        })
        .collect())
}

/// What packets of a link begin with. `peer`: its broadcast address, which of a tunnel is the other end's.
///
/// Sources: `hard_header_len`, `header_ops` and what becomes of the MAC header in the kernel's `net/ipv4/ip_gre.c`,
/// `net/ipv6/ip6_gre.c`, `net/xfrm/xfrm_input.c`, `net/xfrm/xfrm_interface_core.c`, `net/ipv4/ip_vti.c`.
fn begins(layer: LinkLayerType, kind: Option<&str>, peer: &[u8]) -> Begins {
    match layer {
        LinkLayerType::Ether | LinkLayerType::Loopback => Begins::Ethernet,
        // What comes in by IPsec's interfaces has the Ethernet header that it came in with, or none.
        _ if matches!(kind, Some("xfrm" | "vti" | "vti6")) => Begins::Otherwise,
        // Without one other end, the outer IP header is what Ethernet's would be.
        LinkLayerType::Ipgre | LinkLayerType::Ip6gre if !is_unicast(peer) => Begins::Otherwise,
        LinkLayerType::None
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::Ip6gre
        | LinkLayerType::Ppp
        | LinkLayerType::Rawip => Begins::Ip,
        _ => Begins::Otherwise,
    }
}

/// Whether `address` is that of one IPv4 or IPv6 host.
fn is_unicast(address: &[u8]) -> bool {
    let address = <[u8; 4]>::try_from(address)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(address).map(IpAddr::from));
    address.is_ok_and(|address| !address.is_unspecified() && !address.is_multicast())
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(InfoKind::Other(name)) => Some(name.clone()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_packets_begin_with_depends_on_the_kind_of_link() {
        use LinkLayerType::{
            Ether, Infiniband, Ip6gre, Ipgre, Loopback, None, Ppp, Sit, Tunnel, Tunnel6,
        };
        let (nobody, v4) = (&[][..], &[192, 0, 2, 1][..]);
        let v6 = &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..];
        for (layer, kind, peer, expected) in [
            (Ether, Option::None, &[0xff; 6][..], Begins::Ethernet),
            (Ether, Some("tun"), &[0xff; 6], Begins::Ethernet),
            (Loopback, Option::None, &[0; 6], Begins::Ethernet),
            (None, Some("tun"), nobody, Begins::Ip),
            (None, Some("wireguard"), nobody, Begins::Ip),
            (None, Some("xfrm"), nobody, Begins::Otherwise),
            (Ppp, Some("ppp"), nobody, Begins::Ip),
            (Tunnel, Some("ipip"), v4, Begins::Ip),
            (Tunnel, Some("vti"), v4, Begins::Otherwise),
            (Tunnel6, Some("ip6tnl"), v6, Begins::Ip),
            (Tunnel6, Some("vti6"), v6, Begins::Otherwise),
            (Sit, Some("sit"), v4, Begins::Ip),
            (Ipgre, Some("gre"), v4, Begins::Ip),
            (Ipgre, Some("gre"), &[0; 4], Begins::Otherwise),
            (Ipgre, Some("gre"), &[239, 0, 0, 1], Begins::Otherwise),
            (Ip6gre, Some("ip6gre"), v6, Begins::Ip),
            (Ip6gre, Some("ip6gre"), &[0; 16], Begins::Otherwise),
            (Infiniband, Option::None, &[0; 20], Begins::Otherwise),
        ] {
            assert_eq!(begins(layer, kind, peer), expected, "{layer:?} {kind:?} {peer:?}");
        }
    }
}
