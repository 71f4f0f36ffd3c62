//! A flood of SYNs from addresses that are not the sender's own, as fast as one CPU makes them: a kernel
//! program writes them, and the kernel's test-run sends them for real (`BPF_F_TEST_XDP_LIVE_FRAMES`).

use std::{
    net::SocketAddrV4,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
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

use crate::host::Host;

const PROGRAM: &str = "bench_flood_xdp";
const EMPTY: &str = "bench_empty_xdp";
/// Frames that the kernel makes before it hands them on together.
const BATCH: u32 = 64;
/// Frames between two looks at whether to go on.
const TURN: u32 = 50_000;

/// The source addresses: 11.0.0.0/8, which no machine of the lab has.
const SOURCES: [u8; 4] = [11, 0, 0, 0];
const SOURCES_MASK: [u8; 4] = [0, 255, 255, 255];

/// A flood from a machine to a server beyond the machine at the other end of its first link.
pub struct Flood<'lab> {
    from: &'lab Host,
    ebpf: Ebpf,
    frame: Vec<u8>,
    pause: Duration,
}

impl<'lab> Flood<'lab> {
    /// A flood that can begin. The other end of the link has to have NAPI, by generic receive offload or by an
    /// XDP program: without it a virtual link takes no frames that an XDP program sends.
    pub fn prepare(from: &'lab Host, to: SocketAddrV4) -> Result<Self> {
        let mut ebpf = programs()?;
        let program = ebpf.program_mut(PROGRAM).context("no program for a flood")?;
        object::load_program(PROGRAM, program)?;
        let interface = from.first_interface();
        let index = from.run(|| if_nametoindex(interface.name))??;
        let flood = layout::Flood {
            macs: bytemuck::cast([interface.peer_mac.0, interface.mac.0]),
            destination: u32::from_ne_bytes(to.ip().octets()),
            source: u32::from_ne_bytes(SOURCES),
            source_mask: u32::from_ne_bytes(SOURCES_MASK),
            destination_port: to.port().into(),
            interface: index,
        };
        let frame = [&[0; layout::Flood::PACKET_LEN], bytemuck::bytes_of(&flood)].concat();
        Ok(Self { from, ebpf, frame, pause: Duration::ZERO })
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
        let program: &Xdp =
            self.ebpf.program(PROGRAM).context("no program for a flood")?.try_into()?;
        self.from.run(|| {
            let mut made = 0;
            while made < count && !stop.load(Relaxed) {
                let repeat = TURN.min(u32::try_from(count - made).unwrap_or(TURN));
                let options = TestRunOptions {
                    data_in: Some(&self.frame),
                    repeat,
                    attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                    ..TestRunOptions::new()
                };
                program.test_run(options).context("the kernel's test-run sends no frames")?;
                made += u64::from(repeat);
                thread::sleep(self.pause);
            }
            Ok(made)
        })?
    }
}

/// How many frames XDP programs sent out of the first interface of `host`, by the link's own count.
pub fn sent(host: &Host) -> Result<u64> {
    let mut ethtool = host.command("ethtool");
    ethtool.args(["-S", host.first_interface().name]);
    let text = host.output(&mut ethtool)?;
    let mut sum = 0;
    for line in text.lines() {
        if let Some((name, value)) = line.trim().split_once(": ")
            && name.starts_with("tx_queue_")
            && name.ends_with("_xdp_xmit")
        {
            sum += value.parse::<u64>().with_context(|| format!("ethtool says {line:?}"))?;
        }
    }
    Ok(sum)
}

/// A program that passes everything, on the first interface of `host` until it is dropped: what a virtual link
/// wants at its end before it takes frames there that native XDP transmits at the other.
pub fn listen_to_xdp(host: &Host) -> Result<Ebpf> {
    let mut ebpf = programs()?;
    let program = ebpf.program_mut(EMPTY).context("no empty program")?;
    object::load_program(EMPTY, program)?;
    let program: &mut Xdp = program.try_into()?;
    let name = host.first_interface().name;
    host.run(|| program.attach(name, XdpMode::Driver).map(drop))?
        .with_context(|| format!("cannot attach to {name} of the {}", host.role()))?;
    Ok(ebpf)
}

fn programs() -> Result<Ebpf> {
    object::create(Purpose::Bench, TableSizes { completed: 1_024, half_open: 1_024 })
}
