//! Frames as fast as one CPU makes them: a kernel program writes them, and the kernel's test-run sends them for real
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`). Segments from addresses that are not the sender's own, or copies of one frame.
//!
//! The test-run hands a batch to the link and lets softirqs run, on its own CPU: what the link's other end does with
//! the batch, and whatever comes after that, happens before the next one is made.

use std::{
    net::SocketAddrV4,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use firewall_common::layout;
use firewall_user::{
    object::{self, Purpose},
    policy::TableSizes,
};
use nix::net::if_::if_nametoindex;

use crate::{
    cpu,
    host::{Host, Interface},
    packet::Packet,
};

const FLOOD: &str = "bench_flood_xdp";
const COPY: &str = "bench_copy_xdp";
const EMPTY: &str = "bench_empty_xdp";
const DROP: &str = "bench_drop_xdp";
const LOOKUP: &str = "bench_lookup_xdp";
/// The programs' tables, where nothing is looked up.
const SMALL: TableSizes = TableSizes { completed: 1_024, half_open: 1_024 };
/// Frames that the kernel makes before it hands them on together.
const BATCH: u32 = 64;
/// Frames between two looks at whether to go on.
const TURN: u32 = 50_000;
/// Likewise, for who has a CPU alone. To end a test-run takes the kernel an RCU grace period, much longer than
/// [`TURN`] frames do.
const LONG_TURN: u32 = 1_000_000;

/// The network of the source addresses, which no machine of the lab has.
pub const SOURCE_NETWORK: &str = "11.0.0.0/8";
const SOURCES: [u8; 4] = [11, 0, 0, 0];
const SOURCES_MASK: [u8; 4] = [0, 255, 255, 255];

/// What a flood consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The first one of a connection.
    Syn,
    /// One of a connection that there is not.
    Ack,
}

/// A flood from a machine to another beyond the machine at the other end of its first link.
pub struct Flood<'lab> {
    from: &'lab Host,
    program: &'static str,
    ebpf: Ebpf,
    frame: Vec<u8>,
    pause: Duration,
}

impl<'lab> Flood<'lab> {
    /// A flood of SYNs that can begin. The other end of the link has to have NAPI, by generic receive offload or by
    /// an XDP program: without it a virtual link takes no frames that an XDP program sends.
    pub fn prepare(from: &'lab Host, to: SocketAddrV4) -> Result<Self> {
        Self::of(Segment::Syn, from, to)
    }

    /// A flood of `segment`s. As for [`Flood::prepare`].
    pub fn of(segment: Segment, from: &'lab Host, to: SocketAddrV4) -> Result<Self> {
        let interface = from.first_interface();
        let flood = layout::Flood {
            macs: bytemuck::cast([interface.peer_mac.0, interface.mac.0]),
            destination: u32::from_ne_bytes(to.ip().octets()),
            source: u32::from_ne_bytes(SOURCES),
            source_mask: u32::from_ne_bytes(SOURCES_MASK),
            destination_port: to.port().into(),
            control: match segment {
                Segment::Syn => layout::Flood::SYN,
                Segment::Ack => layout::Flood::ACK,
            },
            interface: first_index(from)?,
        };
        let frame = [&[0; layout::Flood::PACKET_LEN], bytemuck::bytes_of(&flood)].concat();
        Self::by(FLOOD, from, frame)
    }

    /// A flood of copies of `packet`, which the padding of Ethernet brings to 60 bytes. As for [`Flood::prepare`].
    ///
    /// # Errors
    ///
    /// Also when the packet is longer than that.
    pub fn of_copies(from: &'lab Host, packet: Packet) -> Result<Self> {
        let Interface { mac, peer_mac, .. } = from.first_interface();
        let mut copy = packet.macs(*mac, *peer_mac).build();
        let len = copy.len();
        ensure!(len <= layout::SHORTEST_FRAME_LEN, "{len} bytes are more than the shortest frame");
        copy.resize(layout::SHORTEST_FRAME_LEN, 0);
        let interface = first_index(from)?;
        let stencil = layout::Stencil { frame: bytemuck::pod_read_unaligned(&copy), interface };
        let frame = [&copy, bytemuck::bytes_of(&stencil)].concat();
        Self::by(COPY, from, frame)
    }

    fn by(name: &'static str, from: &'lab Host, frame: Vec<u8>) -> Result<Self> {
        let mut ebpf = object::create(Purpose::Bench, SMALL)?;
        let program = ebpf.program_mut(name).context("no program for a flood")?;
        object::load_program(name, program)?;
        Ok(Self { from, program: name, ebpf, frame, pause: Duration::ZERO })
    }

    /// Lets the flood pause after each of its turns, so that what is lost because a link's ring is full gets
    /// through when it is repeated.
    #[must_use]
    pub fn with_pauses(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Sends frames until there were `count`, or until `stop`. Returns how many were made; some of them may have
    /// found no room at the link's other end: see [`sent`].
    pub fn run(&self, count: u64, stop: &AtomicBool) -> Result<u64> {
        self.from.run(|| {
            let mut made = 0;
            while made < count && !stop.load(Relaxed) {
                let turn = TURN.min(u32::try_from(count - made).unwrap_or(TURN));
                self.send(turn)?;
                made += u64::from(turn);
                thread::sleep(self.pause);
            }
            Ok(made)
        })?
    }

    /// As [`Flood::run`] without a count, from a CPU that does nothing else: as fast as it goes.
    pub fn run_alone(&self, stop: &AtomicBool) -> Result<()> {
        self.from.run(|| {
            cpu::have_another_alone()?;
            while !stop.load(Relaxed) {
                self.send(LONG_TURN)?;
            }
            Ok(())
        })?
    }

    /// Sends `count` frames, and returns how long a frame took: to be made, sent, and for all that softirqs made of
    /// it at the link's other end and beyond. One CPU did that and nothing else. In whole nanoseconds, rounded down.
    pub fn time_each(&self, count: u32) -> Result<Duration> {
        self.from.run(|| {
            cpu::have_alone()?;
            self.send(count)
        })?
    }

    /// From the network namespace of this thread. The kernel takes the time, without that of setting the test-run up
    /// and ending it, for which it sleeps.
    fn send(&self, count: u32) -> Result<Duration> {
        let program: &Xdp =
            self.ebpf.program(self.program).context("no program for a flood")?.try_into()?;
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options).context("the kernel's test-run sends no frames")?;
        Ok(result.duration)
    }
}

/// How many frames XDP programs sent out of the first interface of `host`, by the link's own count.
pub fn sent(host: &Host) -> Result<u64> {
    counted(host, "tx_queue_", "_xdp_xmit")
}

/// How many frames XDP programs dropped at the first interface of `host`, likewise: in the driver, that is.
pub fn dropped(host: &Host) -> Result<u64> {
    counted(host, "rx_queue_", "_xdp_drops")
}

fn counted(host: &Host, prefix: &str, suffix: &str) -> Result<u64> {
    let mut ethtool = host.command("ethtool");
    ethtool.args(["-S", host.first_interface().name]);
    let text = host.output(&mut ethtool)?;
    let mut sum = 0;
    for line in text.lines() {
        if let Some((name, value)) = line.trim().split_once(": ")
            && name.starts_with(prefix)
            && name.ends_with(suffix)
        {
            sum += value.parse::<u64>().with_context(|| format!("ethtool says {line:?}"))?;
        }
    }
    Ok(sum)
}

/// A program that passes everything, on the first interface of `host` until it is dropped: what a virtual link
/// wants at its end before it takes frames there that native XDP transmits at the other.
pub fn listen_to_xdp(host: &Host) -> Result<Ebpf> {
    attach(host, EMPTY, SMALL)
}

/// A program that drops everything, by native XDP on the first interface of `host` until it is dropped itself.
pub fn drop_by_xdp(host: &Host) -> Result<Ebpf> {
    attach(host, DROP, SMALL)
}

/// A program that parses, looks once into an empty table with room for `flows`, and drops what it does not find;
/// likewise.
pub fn drop_unknown_by_xdp(host: &Host, flows: u32) -> Result<Ebpf> {
    attach(host, LOOKUP, TableSizes { completed: flows, ..SMALL })
}

fn attach(host: &Host, name: &str, sizes: TableSizes) -> Result<Ebpf> {
    let mut ebpf = object::create(Purpose::Bench, sizes)?;
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    object::load_program(name, program)?;
    let program: &mut Xdp = program.try_into()?;
    let interface = host.first_interface().name;
    host.run(|| program.attach(interface, XdpMode::Driver).map(drop))?
        .with_context(|| format!("cannot attach to {interface} of the {}", host.role()))?;
    Ok(ebpf)
}

fn first_index(host: &Host) -> Result<u32> {
    Ok(host.run(|| if_nametoindex(host.first_interface().name))??)
}
