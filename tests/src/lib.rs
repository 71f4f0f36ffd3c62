//! The lab: machines in network namespaces of their own, joined by virtual links, with real peers that
//! play video through a firewall in between. The demo, every test that needs a kernel and the
//! benchmarks stand on it.
//!
//! Nothing here touches the machine's own network, and nothing outlives the process: see `cleanup`.
//! It needs root, and Debian's iproute2, ethtool, ffmpeg, python3-gi, gir1.2-gst-rtsp-server-1.0 and
//! gstreamer1.0-plugins-good.

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

pub mod differential;
pub mod flood;
pub mod flows;
pub mod loss;
pub mod peers;
pub mod policy;
pub mod replaying;
pub mod traces;
pub mod wait;

pub use fwx::{
    Binding, Controller, Event, FamilyFlows, Finding, Flows, Fwx, InterfaceStatus,
    Mode, Outcome, Packets, Status, find_binary,
};
pub use host::{Host, Interface};
pub use packet::{Mac, Packet};
pub use pcap::pcap_bytes;
pub use process::Process;
pub use topology::{Lab, Options};
