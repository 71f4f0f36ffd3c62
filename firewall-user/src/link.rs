//! Network interfaces, as the kernel describes them over netlink.

use anyhow::{Context as _, Result};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType};

use crate::bad_input;

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
    /// Whether its packets begin with an Ethernet header.
    pub is_ethernet: bool,
}

impl Interface {
    /// Whether fwx can judge its packets.
    ///
    /// # Errors
    ///
    /// [`crate::error::BadInput`]: it carries packets that fwx cannot read.
    pub fn check(&self) -> Result<()> {
        if !self.is_ethernet {
            bad_input!(
                "{} carries packets without an Ethernet header (tun, WireGuard, PPP and the like), which fwx \
                 cannot read: it would judge none of them",
                self.name
            );
        }
        Ok(())
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
                is_ethernet: matches!(
                    message.header.link_layer_type,
                    LinkLayerType::Ether | LinkLayerType::Loopback
                ),
            };
            for attribute in message.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => interface.name = name,
                    LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                    LinkAttribute::LinkInfo(infos) => {
                        interface.kind = infos.iter().find_map(kind).or(interface.kind);
                    }
                    _ => {}
                }
            }
            interface
        })
        .collect())
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(InfoKind::Other(name)) => Some(name.clone()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}
