//! By which interface flows came in, long after their first packets.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use anyhow::Result;
use firewall_common::classifier::UNNAMED;

use crate::{addresses, flows::Entry, instance::InterfaceState};

/// The interfaces with programs on them, and what this machine itself is called.
#[derive(Clone, Debug, Default)]
pub struct CameIn {
    /// The numbers by which policies know them, by index.
    numbers: HashMap<u32, u16>,
    own: HashSet<IpAddr>,
}

impl CameIn {
    /// By these interfaces, or from this machine as it is called now.
    ///
    /// # Errors
    ///
    /// When the kernel does not list this machine's addresses.
    pub fn by(interfaces: &[InterfaceState]) -> Result<Self> {
        let numbers = interfaces.iter().map(|it| (it.index, it.number)).collect();
        Ok(Self { numbers, own: addresses::own()? })
    }

    /// The number of the interface that the flow's first packet came in by; 0: it began on this machine;
    /// [`UNNAMED`]: it came in where fwx is not attached any more. A flow remembers where it was judged, which of what this machine sends is where it left.
    pub fn of(&self, entry: &Entry) -> u16 {
        let [source, _] = entry.endpoints();
        if self.own.contains(&source.ip()) {
            return 0;
        }
        self.numbers.get(&entry.flow.interface).copied().unwrap_or(UNNAMED)
    }
}
