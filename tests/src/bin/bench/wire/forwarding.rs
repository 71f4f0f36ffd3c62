//! How fast packets of a connection get through.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow, ensure};
use lab::{Host, Mode, Packet, flood::Flood, wait};

use super::{
    MACHINES, Plan, SENDING,
    cell::{columns, row, trouble},
    effort::{Effort, Watch},
    firewall::{FWX, FWX_NATIVE, Firewall},
    rules::{self, FORWARDED_PORT},
    site::{self, Site},
    turns::{self, Series},
    verdict,
};
use crate::{
    section::{Bound, Chart, ChartKind, Goal, Section, Table},
    spread::Spread,
};

/// The first one is no gateway: by how much the others exceed it is the gateway's time.
const FIREWALLS: [Firewall; 9] = [
    Firewall::Ends,
    Firewall::Absent,
    Firewall::Again,
    Firewall::Nftables,
    Firewall::Iptables,
    FWX,
    FWX_NATIVE,
    Firewall::Fwx(Mode::Generic),
    Firewall::FwxShortcut,
];

const TITLE: &str = "Packets of a connection, through the gateway";

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

/// What a packet takes longer at the gateway than with no firewall, in nanoseconds. `None`: it could not be measured.
#[derive(Clone, Default)]
pub(super) struct AtGateway {
    pub(super) fwx_ns: Option<f64>,
    pub(super) nftables_ns: Option<f64>,
    /// What fwx's programs did for such packets.
    pub(super) programs: Option<Effort>,
}

/// What is sent to which site.
struct Subject<'a> {
    site: &'a Site<'a>,
    flood: Result<Flood<'a>>,
}

pub(super) fn measure(plan: &Plan, sites: &[Site<'_>]) -> Result<(Section, AtGateway)> {
    let sites = site::those(sites, &FIREWALLS);
    site::receive_offload(&sites, "on")?;
    let subjects: Vec<_> =
        sites.iter().map(|&site| Subject { site, flood: prepare(site) }).collect();
    let all = turns::in_turn(&subjects, plan.packet_turns, |subject| subject.take(plan.packets));
    let watched = [FWX, Firewall::FwxShortcut].map(|firewall| {
        let subject = subjects.iter().find(|subject| subject.site.firewall == firewall);
        let effort = subject.context("fwx is not compared here").and_then(|subject| {
            let watch = Watch::of(subject.site)?;
            Ok(watch.during(|| subject.take(plan.packets))?.1)
        });
        (firewall, effort)
    });
    site::receive_offload(&sites, "off")?;

    let taken = Taken { sites, all, packets: f64::from(plan.packets), watched: watched.into() };
    let section = Section {
        title: "Forwarding",
        method: format!(
            "{METHOD} {SENDING} {} packets a turn, {} turns. {MACHINES}",
            plan.packets, plan.packet_turns
        ),
        tables: vec![taken.table()?],
        charts: vec![taken.chart()],
        goals: vec![
            taken.goal(FWX, 1.0, "in the mode it picks")?,
            taken.goal(Firewall::FwxShortcut, 3.0, "in native XDP with the shortcut")?,
        ],
    };
    Ok((section, taken.added()?))
}

/// What all turns came to.
struct Taken<'a> {
    sites: Vec<&'a Site<'a>>,
    /// Nanoseconds a packet, in the order of the sites.
    all: Vec<Series<f64>>,
    /// Of a turn.
    packets: f64,
    /// In a turn that nothing is compared with.
    watched: Vec<(Firewall, Result<Effort>)>,
}

impl Taken<'_> {
    fn of(&self, firewall: Firewall) -> Result<&Series<f64>> {
        Ok(&self.all[site::place(&self.sites, firewall)?])
    }

    /// By how much it exceeds the time of sender and receiver.
    fn at_gateway(&self, firewall: Firewall) -> Result<Series<f64>> {
        Ok(self.of(firewall)?.over(self.of(Firewall::Ends)?))
    }

    /// How many times as many packets as with `other` the gateway could forward, turn by turn.
    fn ratios(&self, firewall: Firewall, other: Firewall) -> Result<Vec<f64>> {
        let (own, other) = (self.at_gateway(firewall)?, self.at_gateway(other)?);
        Ok(own.pairs(&other, |ns, other| other / ns))
    }

    fn added(&self) -> Result<AtGateway> {
        let absent = self.of(Firewall::Absent)?;
        let added =
            |firewall| Ok::<_, anyhow::Error>(self.of(firewall)?.over(absent).median(|&ns| ns));
        Ok(AtGateway {
            fwx_ns: added(FWX)?,
            nftables_ns: added(Firewall::Nftables)?,
            programs: self.watched(FWX).and_then(|effort| effort.as_ref().ok()).cloned(),
        })
    }

    fn table(&self) -> Result<Table> {
        let ratio = |firewall, other| {
            let ratios = self.ratios(firewall, other)?;
            Ok::<_, anyhow::Error>(Spread::of(ratios).map(|spread| spread.median))
        };
        let mut rows = Vec::new();
        for (site, series) in self.sites.iter().zip(&self.all) {
            let mut figures = vec![(rate(series), 2), (series.median(|&ns| ns), 1)];
            if site.firewall == Firewall::Ends {
                figures.extend([(None, 0); 3]);
            } else {
                figures.push((self.at_gateway(site.firewall)?.median(|&ns| ns), 1));
                figures.push((ratio(site.firewall, Firewall::Absent)?, 2));
                figures.push((ratio(site.firewall, Firewall::Nftables)?, 2));
            }
            rows.push(row(site, series, &figures));
        }
        Ok(Table {
            title: TITLE.to_owned(),
            columns: columns(&[
                "firewall",
                "million a second",
                "ns a packet",
                "ns at the gateway",
                "x no firewall",
                "x nftables",
            ]),
            rows,
        })
    }

    fn chart(&self) -> Chart {
        let bars = self.sites.iter().zip(&self.all);
        let bars = bars.filter_map(|(site, series)| Some((site.name().to_owned(), rate(series)?)));
        Chart {
            name: "wire-forwarding".to_owned(),
            title: TITLE.to_owned(),
            value: "million packets a second".to_owned(),
            kind: ChartKind::Bars(bars.collect()),
        }
    }

    fn goal(&self, firewall: Firewall, least: f64, with: &str) -> Result<Goal> {
        let comparison = verdict::Comparison {
            name: firewall.name(),
            ratios: self.ratios(firewall, Firewall::Nftables)?,
            control: self.ratios(Firewall::Again, Firewall::Absent)?,
        };
        Ok(verdict::goal(
            format!(
                "Packets of a connection that a gateway could forward with fwx {with}, compared with nftables with \
                 conntrack"
            ),
            Bound::AtLeast(least),
            &[comparison],
            &self.cause(firewall, least)?,
            trouble(&[self.of(firewall)?, self.of(Firewall::Nftables)?]),
        ))
    }

    fn watched(&self, firewall: Firewall) -> Option<&Result<Effort>> {
        self.watched.iter().find(|(watched, _)| *watched == firewall).map(|(_, effort)| effort)
    }

    /// What the time at the gateway consists of, and what it would have to be.
    fn cause(&self, firewall: Firewall, least: f64) -> Result<String> {
        let (own, nft) = (self.of(firewall)?, self.of(Firewall::Nftables)?);
        let at_gateway =
            |firewall| Ok::<_, anyhow::Error>(self.at_gateway(firewall)?.median(|&ns| ns));
        let (Some(ns), Some(nft_ns), Some(none_ns), Some(whole)) = (
            at_gateway(firewall)?,
            at_gateway(Firewall::Nftables)?,
            at_gateway(Firewall::Absent)?,
            own.against(nft, |ns, nft| nft / ns),
        ) else {
            return Ok(String::new());
        };
        let programs = match self.watched(firewall) {
            Some(Ok(effort)) => {
                let programs = effort.programs_ns() / self.packets;
                format!(
                    ", of which its programs take {programs:.0} ns ({}) and the kernel {:.0} ns",
                    effort.each(),
                    ns - programs
                )
            }
            Some(Err(why)) => format!(", what of it its programs take is not known: {why:#}"),
            None => String::new(),
        };
        Ok(format!(
            "{ns:.0} ns at the gateway alone{programs}; nftables takes {nft_ns:.0} ns, no firewall {none_ns:.0} ns, and \
             {:.0} ns would meet the goal; with sender and receiver, on the same CPU, it is {whole:.2} times",
            nft_ns / least
        ))
    }
}

fn rate(series: &Series<f64>) -> Option<f64> {
    series.median(|ns| 1e3 / ns)
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
pub(super) fn crosses(from: &Host, to: &Host, packet: Packet) -> Result<()> {
    let before = arrived(to)?;
    from.send_packet("eth0", packet)?;
    wait::until(&format!("a packet from the {} has come", from.role()), || {
        ensure!(arrived(to)? > before, "it has not");
        Ok(())
    })
}

/// How many packets of the connection have come to where nobody answers.
pub(super) fn arrived(host: &Host) -> Result<u64> {
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
