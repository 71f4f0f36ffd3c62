//! How fast packets of a connection get through.

use std::net::SocketAddr;

use anyhow::{Result, anyhow, ensure};
use lab::{Host, Mode, Packet, flood::Flood, wait};

use super::{
    MACHINES, Plan,
    cell::{columns, row, trouble},
    firewall::{FWX, FWX_NATIVE, Firewall},
    rules,
    site::{self, Site},
    turns::{self, Series},
};
use crate::section::{Bound, Chart, ChartKind, Goal, Section, Table};

const FIREWALLS: [Firewall; 7] = [
    Firewall::Absent,
    Firewall::Nftables,
    Firewall::Iptables,
    FWX,
    FWX_NATIVE,
    Firewall::Fwx(Mode::Generic),
    Firewall::FwxShortcut,
];

const METHOD: &str = "Two machines that do not know of it have a TCP connection: their handshake crosses the gateway as \
     frames, and then the kernel's test-run sends copies of one acknowledgment, shortest Ethernet frames (60 bytes and \
     the check sequence). It hands 64 at a time to the gateway's interface; on the same CPU, before the next are made, \
     softirqs forward them and drop them at the receiver's interface, whose nftables counts them. Every packet has to \
     arrive. The time of a packet is that of making, sending, forwarding and dropping it one after the other.";

const PORT: u16 = 9_000;
const CLIENT_PORT: u16 = 40_000;
/// Sequence numbers that the ends begin with.
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 5_000;
/// More than a fraction of a second that the rate is taken over cannot lose unseen.
const LEAST_SHARE: f64 = 0.999;

/// What comes to an end's interface is counted, and nobody answers.
const SILENCE: &str = "table netdev bench {
    counter dropped {}
    chain ingress {
        type filter hook ingress device eth0 priority 0; policy accept;
        tcp dport 9000 counter name dropped drop
        tcp sport 9000 counter name dropped drop
    }
}";

/// What is sent to which site.
struct Subject<'a> {
    site: &'a Site<'a>,
    flood: Result<Flood<'a>>,
}

pub(super) fn measure(plan: &Plan, sites: &[Site<'_>]) -> Result<Section> {
    let sites = site::those(sites, &FIREWALLS);
    site::receive_offload(&sites, "on")?;
    let subjects: Vec<_> =
        sites.iter().map(|&site| Subject { site, flood: prepare(site) }).collect();
    let all = turns::in_turn(&subjects, plan.packet_turns, |subject| subject.take(plan.packets));
    site::receive_offload(&sites, "off")?;

    let rate = |series: &Series<f64>| series.median(|ns| 1e3 / ns);
    let ratio = |series: &Series<f64>, firewall| {
        let other = &all[site::place(&sites, firewall)?];
        Ok::<_, anyhow::Error>(series.against(other, |ns, other| other / ns))
    };
    let mut rows = Vec::new();
    for (site, series) in sites.iter().zip(&all) {
        rows.push(row(
            site,
            series,
            &[
                (rate(series), 2),
                (series.median(|&ns| ns), 1),
                (ratio(series, Firewall::Absent)?, 2),
                (ratio(series, Firewall::Nftables)?, 2),
            ],
        ));
    }
    let title = "Packets of a connection, through the gateway".to_owned();
    let bars = sites.iter().zip(&all);
    let bars = bars.filter_map(|(site, series)| Some((site.name().to_owned(), rate(series)?)));
    let chart = Chart {
        name: "wire-forwarding".to_owned(),
        title: title.clone(),
        value: "million packets a second".to_owned(),
        kind: ChartKind::Bars(bars.collect()),
    };
    let goal = |firewall, least, with: &str| {
        let (fwx, nft) = (site::place(&sites, firewall)?, site::place(&sites, Firewall::Nftables)?);
        let (fwx, nft) = (&all[fwx], &all[nft]);
        Ok::<_, anyhow::Error>(Goal {
            what: format!(
                "packets of a connection that fwx forwards {with}, compared with nftables with conntrack"
            ),
            wanted: Bound::AtLeast(least),
            figure: ratio(fwx, Firewall::Nftables)?,
            unit: "times",
            remark: trouble(&[fwx, nft]),
        })
    };
    let goals = vec![
        goal(FWX, 1.0, "in the mode it picks")?,
        goal(Firewall::FwxShortcut, 3.0, "in native XDP with the shortcut")?,
    ];
    Ok(Section {
        title: "Forwarding",
        method: format!(
            "{METHOD} {} packets a turn, {} turns. {MACHINES}",
            plan.packets, plan.packet_turns
        ),
        tables: vec![Table {
            title,
            columns: columns(&[
                "firewall",
                "million a second",
                "ns a packet",
                "x no firewall",
                "x nftables",
            ]),
            rows,
        }],
        charts: vec![chart],
        goals,
    })
}

/// Has the ends' connection begin, and makes what the client sends in it.
fn prepare<'a>(site: &'a Site<'_>) -> Result<Flood<'a>> {
    site.stands()?;
    let (client, camera) = (&site.lab.client, &site.lab.camera);
    for end in [client, camera] {
        end.nft(SILENCE)?;
    }
    let (near, far) = (client.socket_v4(CLIENT_PORT), camera.socket_v4(PORT));
    let acknowledgment = segment(near, far, "A", CLIENT_ISN + 1, SERVER_ISN + 1);
    crosses(client, camera, segment(near, far, "S", CLIENT_ISN, 0))?;
    crosses(camera, client, segment(far, near, "SA", SERVER_ISN, CLIENT_ISN + 1))?;
    crosses(client, camera, acknowledgment.clone())?;
    Flood::of_copies(client, acknowledgment)
}

fn segment(from: SocketAddr, to: SocketAddr, flags: &str, seq: u32, ack: u32) -> Packet {
    Packet::tcp(from, to).flags(flags).seq(seq).ack(ack)
}

/// Sends `packet` and waits until it has come.
fn crosses(from: &Host, to: &Host, packet: Packet) -> Result<()> {
    let before = arrived(to)?;
    from.send_packet("eth0", packet)?;
    wait::until(&format!("a packet from the {} has come", from.role()), || {
        ensure!(arrived(to)? > before, "it has not");
        Ok(())
    })
}

fn arrived(host: &Host) -> Result<u64> {
    let mut nft = host.command("nft");
    nft.args(["list", "counter", "netdev", rules::TABLE, rules::COUNTER]);
    let text = host.output(&mut nft)?;
    rules::packets_of_nft(&text).ok_or_else(|| anyhow!("nft printed: {text}"))
}

impl Subject<'_> {
    /// Nanoseconds a packet.
    fn take(&self, packets: u32) -> Result<f64> {
        let flood = self.flood.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let camera = &self.site.lab.camera;
        let before = arrived(camera)?;
        let time = flood.time_each(packets)?;
        let came = arrived(camera)? - before;
        ensure!(
            came as f64 >= f64::from(packets) * LEAST_SHARE,
            "{came} of {packets} packets arrived"
        );
        Ok(time.as_nanos() as f64)
    }
}
