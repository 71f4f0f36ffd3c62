//! How fast packets of a connection get through.

use std::net::SocketAddr;

use anyhow::{Result, anyhow, ensure};
use lab::{Host, Mode, Packet, flood::Flood, wait};

use super::{
    MACHINES, Plan, SENDING,
    cell::{columns, row, trouble},
    firewall::{FWX, FWX_NATIVE, Firewall},
    rules::{self, FORWARDED_PORT},
    site::{self, Site},
    turns::{self, Series},
};
use crate::section::{Bound, Chart, ChartKind, Goal, Section, Table};

/// The first one is no gateway: by how much the others exceed it is the gateway's time.
const FIREWALLS: [Firewall; 8] = [
    Firewall::Ends,
    Firewall::Absent,
    Firewall::Nftables,
    Firewall::Iptables,
    FWX,
    FWX_NATIVE,
    Firewall::Fwx(Mode::Generic),
    Firewall::FwxShortcut,
];

const METHOD: &str = "Two machines that do not know of it have a TCP connection: their handshake crosses the gateway as \
     frames, and then come copies of one acknowledgment. Rules of nftables at the receiver's interface count and drop \
     them; every packet has to arrive. The time of a packet is that of making, sending, forwarding and dropping it one \
     after the other. The gateway's part is what exceeds the time of packets that are dropped in the same way where the \
     gateway would take them; ratios are of that part. For the shortcut conntrack's nf_conntrack_tcp_be_liberal is set: \
     no conntrack is in use there, but fwx cannot know.";

const CLIENT_PORT: u16 = 40_000;
/// Sequence numbers that the ends begin with.
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 5_000;
/// More than that of the packets cannot get lost unseen.
const LEAST_SHARE: f64 = 0.999;

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
    let at_gateway = |series: &Series<f64>| series.over(&all[0]);
    let ratio = |series: &Series<f64>, firewall| {
        let other = at_gateway(&all[site::place(&sites, firewall)?]);
        Ok::<_, anyhow::Error>(at_gateway(series).against(&other, |ns, other| other / ns))
    };
    let mut rows = Vec::new();
    for (site, series) in sites.iter().zip(&all) {
        let mut figures = vec![(rate(series), 2), (series.median(|&ns| ns), 1)];
        if site.firewall == Firewall::Ends {
            figures.extend([(None, 0); 3]);
        } else {
            figures.push((at_gateway(series).median(|&ns| ns), 1));
            figures.push((ratio(series, Firewall::Absent)?, 2));
            figures.push((ratio(series, Firewall::Nftables)?, 2));
        }
        rows.push(row(site, series, &figures));
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
    let goal = |firewall, least, with: &str, cost: &str| {
        let (fwx, nft) = (site::place(&sites, firewall)?, site::place(&sites, Firewall::Nftables)?);
        let (fwx, nft) = (&all[fwx], &all[nft]);
        Ok::<_, anyhow::Error>(Goal {
            what: format!(
                "Packets of a connection that a gateway could forward with fwx {with}, compared with nftables with \
                 conntrack"
            ),
            wanted: Bound::AtLeast(least),
            figure: ratio(fwx, Firewall::Nftables)?,
            unit: "times",
            remark: match fwx.against(nft, |ns, nft| nft / ns) {
                Some(whole) => {
                    format!(
                        "{cost}; with sender and receiver, on the same CPU, it is {whole:.2} times"
                    )
                }
                None => trouble(&[fwx, nft]),
            },
        })
    };
    let goals = vec![
        goal(FWX, 1.0, "in the mode it picks", "at the gateway alone")?,
        goal(
            Firewall::FwxShortcut,
            3.0,
            "in native XDP with the shortcut",
            "at the gateway alone, where what is left is to receive a frame, judge it, ask the routing table and send it",
        )?,
    ];
    Ok(Section {
        title: "Forwarding",
        method: format!(
            "{METHOD} {SENDING} {} packets a turn, {} turns. {MACHINES}",
            plan.packets, plan.packet_turns
        ),
        tables: vec![Table {
            title,
            columns: columns(&[
                "firewall",
                "million a second",
                "ns a packet",
                "ns at the gateway",
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
    let (near, far) = (client.socket_v4(CLIENT_PORT), camera.socket_v4(FORWARDED_PORT));
    let acknowledgment = segment(near, far, "A", CLIENT_ISN + 1, SERVER_ISN + 1);
    if site.firewall == Firewall::Ends {
        return Flood::of_copies(client, acknowledgment);
    }
    for end in [client, camera] {
        end.nft(&rules::silence("eth0"))?;
    }
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

/// How many packets of the connection have come to where nobody answers.
fn arrived(host: &Host) -> Result<u64> {
    site::of_nft(host, "netdev")
}

impl Subject<'_> {
    /// Nanoseconds a packet.
    fn take(&self, packets: u32) -> Result<f64> {
        let flood = self.flood.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let receiver = match self.site.firewall {
            Firewall::Ends => self.site.lab.gateway(),
            _ => &self.site.lab.camera,
        };
        let before = arrived(receiver)?;
        let time = flood.time_each(packets)?;
        let came = arrived(receiver)? - before;
        ensure!(
            came as f64 >= f64::from(packets) * LEAST_SHARE,
            "{came} of {packets} packets arrived"
        );
        Ok(time.as_nanos() as f64)
    }
}
