//! The shortcut past the kernel's stack, as far as user space decides: which interfaces can have it, and whether
//! TCP can. The policy's word and what was found out go into the kernel's tables together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, xdp::DevMapHash};
use firewall_common::{
    layout::Counter,
    shortcut::{FOR_TCP, FOR_UDP, LongWay},
};
use serde::Serialize;

use crate::{devices, instance::InterfaceState, object::os_error, tables::Tables};

/// Whether conntrack accepts TCP of which it does not see every segment. There while conntrack is loaded.
const BE_LIBERAL: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

/// How far the shortcut can be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortcut {
    /// The policy wants it.
    wanted: bool,
    /// Conntrack would take TCP that it does not wholly see for invalid.
    conntrack_is_strict: bool,
    /// Indices of interfaces that send redirected frames.
    devices: Vec<u32>,
    /// Why that is not known.
    devices_unknown: Option<String>,
    /// Names of interfaces without Ethernet headers, which never have it.
    without_ethernet: BTreeSet<String>,
}

/// The shortcut at one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AtInterface {
    /// Which packets that come in there may take it: `"tcp and udp"`, `"udp"` or `"none"`.
    pub comes_in: &'static str,
    /// Whether packets may leave there by it.
    pub goes_out: bool,
    /// Why not all; empty if the policy does not want the shortcut.
    pub why: Vec<String>,
}

impl Shortcut {
    /// Looks at what can be had now. Without a shortcut in the policy, nothing has to be known.
    ///
    /// # Errors
    ///
    /// When the kernel's setting of conntrack cannot be read.
    pub fn look(wanted: bool) -> Result<Self> {
        if !wanted {
            return Ok(Self::default());
        }
        let (devices, devices_unknown) = match devices::that_send_redirected() {
            Ok(devices) => (devices, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let without_ethernet = devices::without_ethernet()?;
        let conntrack_is_strict = conntrack_is_strict()?;
        Ok(Self { wanted, conntrack_is_strict, devices, devices_unknown, without_ethernet })
    }

    /// Puts it into force for these interfaces, from the next packet on.
    ///
    /// # Errors
    ///
    /// When a table cannot be written.
    pub fn put_into_force(&self, tables: &Tables, interfaces: &[InterfaceState]) -> Result<()> {
        let may = match (self.wanted, self.conntrack_is_strict) {
            (false, _) => 0,
            (true, true) => FOR_UDP,
            (true, false) => FOR_UDP | FOR_TCP,
        };
        if self.wanted {
            let addresses = devices::addresses()?;
            for InterfaceState { index, number, .. } in interfaces {
                tables.note_interface(*index, addresses.get(index).copied(), *number)?;
            }
        }
        let is_target = |index: &u32| {
            let is_known = |known: &InterfaceState| known.index == *index && self.sends(known);
            interfaces.iter().any(is_known)
        };
        let mut map: DevMapHash<MapData> = tables.open("DEVICES")?;
        let there: Vec<u32> = map.keys().collect::<Result<_, _>>()?;
        for index in there.iter().filter(|index| !is_target(index)) {
            match map.remove(*index) {
                // It went away, and the kernel was faster.
                Err(error) if os_error(&error) == Some(libc::ENOENT) => {}
                other => other.context("cannot take an interface out of the device map")?,
            }
        }
        for index in self.devices.iter().filter(|index| is_target(index) && !there.contains(index))
        {
            match map.insert(*index, *index, None, 0) {
                // It is going away.
                Err(error) if os_error(&error) == Some(libc::EINVAL) => {}
                other => other.context("cannot put an interface into the device map")?,
            }
        }
        tables.set_shortcut(may)
    }

    /// Whether frames can be redirected to an interface.
    fn sends(&self, interface: &InterfaceState) -> bool {
        self.devices.contains(&interface.index) && !self.without_ethernet.contains(&interface.name)
    }

    /// What it comes to at an interface.
    pub fn at(&self, interface: &InterfaceState) -> AtInterface {
        let goes_out = self.sends(interface);
        if !self.wanted {
            return AtInterface { comes_in: "none", goes_out, why: Vec::new() };
        }
        if self.without_ethernet.contains(&interface.name) {
            let why =
                "packets have no Ethernet header here, which the shortcut would have to write";
            return AtInterface { comes_in: "none", goes_out, why: vec![why.to_owned()] };
        }
        let mut why = Vec::new();
        let comes_in = if interface.ingress == "tc" {
            why.push("the shortcut needs XDP, and the ingress mode here is tc".to_owned());
            "none"
        } else if self.conntrack_is_strict {
            why.push(
                "conntrack would take TCP that it sees parts of for invalid: \
                 `sysctl net.netfilter.nf_conntrack_tcp_be_liberal=1` lets TCP take the shortcut, too"
                    .to_owned(),
            );
            "udp"
        } else {
            "tcp and udp"
        };
        if let Some(unknown) = &self.devices_unknown {
            why.push(unknown.clone());
        } else if !goes_out {
            why.push(
                "its driver does not send redirected frames (of a veth: its other end needs NAPI, as by \
                 `ethtool -K NAME gro on`)"
                    .to_owned(),
            );
        }
        AtInterface { comes_in, goes_out, why }
    }
}

/// What became of packets that the shortcut was for.
#[derive(Debug, Default, Serialize)]
pub struct Taken {
    /// Whether the policy wants it.
    pub wanted: bool,
    /// Packets that took it.
    pub packets: u64,
    /// Packets of flows that take it which went the long way, by reason; those that never came up are left out.
    pub long_ways: BTreeMap<&'static str, u64>,
}

impl Taken {
    /// What the kernel counted.
    ///
    /// # Errors
    ///
    /// When a table cannot be read.
    pub fn read(wanted: bool, tables: &Tables) -> Result<Self> {
        let mut long_ways = BTreeMap::new();
        for (why, name) in LongWay::ALL {
            let packets = tables.long_ways(why)?;
            if packets > 0 {
                long_ways.insert(name, packets);
            }
        }
        Ok(Self { wanted, packets: tables.counter(Counter::ShortCut)?, long_ways })
    }
}

impl AtInterface {
    /// For people.
    pub fn text(&self) -> String {
        let goes_out = if self.goes_out { "on" } else { "off" };
        let mut text = format!("shortcut: in {}, out {goes_out}", self.comes_in);
        if !self.why.is_empty() {
            text += &format!(" ({})", self.why.join("; "));
        }
        text
    }
}

fn conntrack_is_strict() -> Result<bool> {
    match fs::read_to_string(BE_LIBERAL) {
        Ok(setting) => Ok(setting.trim() == "0"),
        // Nobody tracks connections.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot read {BE_LIBERAL}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(ingress: &str, index: u32) -> InterfaceState {
        InterfaceState {
            name: "lan0".to_owned(),
            index,
            number: 1,
            ingress: ingress.to_owned(),
            egress: "tcx".to_owned(),
            why: String::new(),
        }
    }

    #[test]
    fn what_it_comes_to_is_said_with_the_reason() {
        let all = Shortcut { wanted: true, devices: vec![2], ..Shortcut::default() };
        for mode in ["native", "generic"] {
            let at = all.at(&interface(mode, 2));
            assert_eq!(at.text(), "shortcut: in tcp and udp, out on");
        }
        let at = all.at(&interface("tc", 2));
        assert_eq!((at.comes_in, at.goes_out), ("none", true));
        assert!(at.why[0].contains("needs XDP"), "{at:?}");
        let at = all.at(&interface("native", 3));
        assert_eq!((at.comes_in, at.goes_out), ("tcp and udp", false));
        assert!(at.why[0].contains("redirected"), "{at:?}");
        let without_ethernet = ["lan0".to_owned()].into();
        let tunnel = Shortcut { without_ethernet, ..all.clone() };
        let at = tunnel.at(&interface("tc", 2));
        assert_eq!((at.comes_in, at.goes_out), ("none", false));
        assert!(at.why[0].contains("no Ethernet header"), "{at:?}");
        let strict = Shortcut { conntrack_is_strict: true, ..all };
        let at = strict.at(&interface("native", 2));
        assert_eq!(at.comes_in, "udp");
        assert!(at.why[0].contains("be_liberal"), "{at:?}");
    }

    #[test]
    fn who_does_not_want_it_is_told_nothing() {
        let at = Shortcut::default().at(&interface("tc", 2));
        assert_eq!(at.text(), "shortcut: in none, out off");
    }
}
