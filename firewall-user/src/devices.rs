//! What the kernel says of network devices besides what `link` asks: hardware addresses, and which of them send
//! frames that an XDP program redirects to them.
//!
//! Sources: include/uapi/linux/netdev.h and genetlink.h; Documentation/netlink/specs/netdev.yaml.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow};
use netlink_packet_core::{
    DecodeError, NlasIterator, parse_string, parse_u16, parse_u32, parse_u64,
};
use netlink_sys::protocols::NETLINK_GENERIC;
use nix::{
    ifaddrs::{InterfaceAddress, InterfaceAddressIterator, getifaddrs},
    sys::socket::LinkAddr,
};

use crate::netlink::{ListError, Request, list};

/// A hardware address.
pub type Address = [u8; 6];

/// The hardware addresses of this network namespace's interfaces with Ethernet headers, by index.
///
/// # Errors
///
/// What the kernel says.
pub fn addresses() -> Result<BTreeMap<u32, Address>> {
    let links = all()?.filter_map(|interface| ethernet(&interface));
    Ok(links.filter_map(|link| Some((link.ifindex().try_into().ok()?, link.addr()?))).collect())
}

/// Names of this network namespace's interfaces without Ethernet headers.
///
/// # Errors
///
/// What the kernel says.
pub fn without_ethernet() -> Result<BTreeSet<String>> {
    let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
    for interface in all()? {
        let names = if ethernet(&interface).is_some() { &mut with } else { &mut without };
        names.insert(interface.interface_name);
    }
    // Each is there once more for every other address that it has.
    without.retain(|name| !with.contains(name));
    Ok(without)
}

fn all() -> Result<InterfaceAddressIterator> {
    getifaddrs().context("cannot list the interfaces' addresses")
}

/// The address of a link with Ethernet headers. Of others it is none, or that of a tunnel's end.
fn ethernet(interface: &InterfaceAddress) -> Option<LinkAddr> {
    let link = interface.address?.as_link_addr().copied()?;
    matches!(link.hatype(), libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK).then_some(link)
}

/// Length of `struct genlmsghdr`.
const GENERIC_BYTES: usize = 4;
const GENERIC_VERSION: u8 = 1;

/// The family of families: GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_….
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// The family of network devices: NETDEV_CMD_DEV_GET, NETDEV_A_DEV_…, NETDEV_XDP_ACT_….
const NETDEV: &str = "netdev";
const GET_DEVICE: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;
const SENDS_REDIRECTED: u64 = 1 << 2;

/// Indices of the interfaces of this network namespace whose drivers say that they send redirected frames. A veth
/// says so while its other end has NAPI.
///
/// # Errors
///
/// What the kernel says; one before Linux 6.3 cannot tell.
pub fn that_send_redirected() -> Result<Vec<u32>> {
    let family = families()?
        .into_iter()
        .find_map(|(name, id)| (name == NETDEV).then_some(id))
        .context("this kernel does not say which devices send redirected frames: Linux 6.3 does")?;
    let devices = listed(family, GET_DEVICE, |message| {
        let (mut index, mut features) = (None, 0);
        for attribute in NlasIterator::new(message) {
            let attribute = attribute?;
            match attribute.kind() {
                DEVICE_INDEX => index = Some(parse_u32(attribute.value())?),
                DEVICE_XDP_FEATURES => features = parse_u64(attribute.value())?,
                _ => {}
            }
        }
        Ok(index.filter(|_| features & SENDS_REDIRECTED != 0))
    });
    devices.context("cannot list what network devices can do")
}

/// The families of generic netlink, by name.
fn families() -> Result<Vec<(String, u16)>> {
    let families = listed(CONTROL, GET_FAMILY, |message| {
        let (mut name, mut id) = (None, None);
        for attribute in NlasIterator::new(message) {
            let attribute = attribute?;
            match attribute.kind() {
                FAMILY_ID => id = Some(parse_u16(attribute.value())?),
                FAMILY_NAME => name = Some(parse_string(attribute.value())?),
                _ => {}
            }
        }
        Ok(name.zip(id))
    });
    families.context("cannot list the families of generic netlink")
}

/// What `read` makes of the attributes of each message that `family` answers `command` with.
fn listed<T>(
    family: u16,
    command: u8,
    read: impl Fn(&[u8]) -> Result<Option<T>, DecodeError>,
) -> Result<Vec<T>> {
    let request = Request {
        protocol: NETLINK_GENERIC,
        question: family,
        answer: family,
        body: vec![command, GENERIC_VERSION, 0, 0],
    };
    let take = |all: &mut Vec<T>, message: &[u8]| {
        let attributes = message.get(GENERIC_BYTES..).ok_or("a message without a header")?;
        all.extend(read(attributes)?);
        Ok(())
    };
    match list(&request, take) {
        Ok(listed) => Ok(listed.collected),
        Err(ListError::Unavailable(error) | ListError::Failed(error)) => Err(anyhow!(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_sends_nothing_redirected() {
        let loopback = 1;
        assert_eq!(addresses().unwrap().get(&loopback), Some(&[0; 6]));
        assert!(!that_send_redirected().unwrap().contains(&loopback));
        assert!(!without_ethernet().unwrap().contains("lo"));
    }
}
