//! The addresses by which this machine answers at its interfaces: a packet that a rule rejects is answered from one of
//! them (`firewall-ebpf/src/prohibited.rs`).

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result};
use firewall_common::layout::OwnAddresses;
use nix::ifaddrs::getifaddrs;

use crate::{instance::InterfaceState, tables::Tables};

/// Notes the addresses as they are now, for these interfaces.
///
/// # Errors
///
/// When the kernel does not list them, or the table cannot be written.
pub fn put_into_force(tables: &Tables, interfaces: &[InterfaceState]) -> Result<()> {
    let listed = listed()?;
    for InterfaceState { index, name, .. } in interfaces {
        tables.set_own_addresses(*index, chosen(name, &listed))?;
    }
    Ok(())
}

/// The addresses of this network namespace.
///
/// # Errors
///
/// When the kernel does not list them.
pub fn own() -> Result<HashSet<IpAddr>> {
    Ok(listed()?.into_values().flatten().collect())
}

/// The addresses of this network namespace, by the interface's name, in the kernel's order.
fn listed() -> Result<BTreeMap<String, Vec<IpAddr>>> {
    let mut listed: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for entry in getifaddrs().context("cannot list the interfaces' addresses")? {
        let Some(address) = entry.address else { continue };
        let address = if let Some(v4) = address.as_sockaddr_in() {
            IpAddr::V4(v4.ip())
        } else if let Some(v6) = address.as_sockaddr_in6() {
            IpAddr::V6(v6.ip())
        } else {
            continue;
        };
        // Of IPv4 the kernel tells the address's label, which may have more behind the name.
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        listed.entry(name.to_owned()).or_default().push(address);
    }
    Ok(listed)
}

/// The addresses for the interface `name`: its own, or, if it has none, the first of another. A router may answer by
/// any (RFC 1812 §4.3.2.4).
fn chosen(name: &str, listed: &BTreeMap<String, Vec<IpAddr>>) -> OwnAddresses {
    let own = listed.get(name).into_iter().flatten();
    let others = listed.iter().filter(|(other, _)| *other != name).flat_map(|(_, all)| all);
    let mut in_order = own.chain(others);
    let v4 = in_order.clone().find_map(|address| match address {
        IpAddr::V4(v4) if answers_v4(*v4) => Some(*v4),
        _ => None,
    });
    let v6 = in_order.find_map(|address| match address {
        IpAddr::V6(v6) if answers_v6(*v6) => Some(*v6),
        _ => None,
    });
    OwnAddresses {
        v4: v4.map_or(0, |v4| u32::from_ne_bytes(v4.octets())),
        v6: v6.map_or([0; 4], |v6| bytemuck::cast(v6.octets())),
    }
}

fn answers_v4(address: Ipv4Addr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_link_local()
}

/// A link-local address would not be understood beyond its link.
fn answers_v6(address: Ipv6Addr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(all: &[(&str, &[&str])]) -> BTreeMap<String, Vec<IpAddr>> {
        let parsed = |of: &&[&str]| of.iter().map(|it| it.parse().unwrap()).collect();
        all.iter().map(|(name, of)| ((*name).to_owned(), parsed(of))).collect()
    }

    fn of(v4: &str, v6: &str) -> OwnAddresses {
        let v4: Ipv4Addr = v4.parse().unwrap();
        let v6: Ipv6Addr = v6.parse().unwrap();
        OwnAddresses { v4: u32::from_ne_bytes(v4.octets()), v6: bytemuck::cast(v6.octets()) }
    }

    #[test]
    fn an_interface_answers_by_its_own_first_address() {
        let listed = listed(&[
            ("lan0", &["10.1.0.1", "10.1.0.9", "fe80::1", "fd00:1::1"]),
            ("wan0", &["192.0.2.1", "2001:db8::1"]),
        ]);
        assert_eq!(chosen("lan0", &listed), of("10.1.0.1", "fd00:1::1"));
        assert_eq!(chosen("wan0", &listed), of("192.0.2.1", "2001:db8::1"));
    }

    #[test]
    fn one_without_an_address_answers_by_that_of_another() {
        let listed =
            listed(&[("lan0", &["169.254.1.1", "fe80::1"]), ("lo", &["127.0.0.1", "::1"])]);
        assert_eq!(chosen("lan0", &listed), OwnAddresses::default());
        let mut listed = listed;
        listed.insert("wan0".to_owned(), vec!["192.0.2.1".parse().unwrap()]);
        assert_eq!(chosen("lan0", &listed), of("192.0.2.1", "::"));
        assert_eq!(chosen("tun0", &listed), of("192.0.2.1", "::"));
    }

    #[test]
    fn loopback_has_addresses_that_answer_nobody() {
        let listed = super::listed().unwrap();
        let of_loopback = listed.get("lo").cloned().unwrap_or_default();
        assert!(of_loopback.iter().all(IpAddr::is_loopback), "{of_loopback:?}");
    }
}
