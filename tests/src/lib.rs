//! The lab: machines in network namespaces of their own, joined by virtual links, with real peers that
//! play video through a firewall in between. The demo, every test that needs a kernel and the
//! benchmarks stand on it.
//!
//! Nothing here touches the machine's own network, and nothing outlives the process: see `cleanup`.
//! It needs root, and what `cargo xtask setup` installs: `lab` in `xtask/src/debian.rs`.

mod cleanup;
mod fwx;
mod host;
mod namespace;
mod packet;
mod pcap;
mod process;
mod raw;
mod tool;
mod topology;

pub mod applying;
pub mod conntrack;
pub mod cpu;
pub mod differential;
pub mod event_flood;
pub mod flood;
pub mod flows;
pub mod loss;
pub mod memory;
pub mod mounts;
pub mod nat;
pub mod peers;
pub mod policy;
pub mod receivers;
pub mod reference;
pub mod replaying;
pub mod scraping;
pub mod terminal;
pub mod traces;
pub mod tshark;
pub mod tun;
pub mod wait;

pub use fwx::{
    Binding, Connection, Controller, Event, ExportStatus, FamilyFlows, Finding, Flows, Fwx,
    InterfaceStatus, Mode, Outcome, Packets, Pending, Pinhole, Pinholes, Status, find_binary,
};
pub use host::{Host, Interface};
pub use packet::{Mac, Packet};
pub use pcap::pcap_bytes;
pub use process::Process;
pub use topology::{Lab, Options};
