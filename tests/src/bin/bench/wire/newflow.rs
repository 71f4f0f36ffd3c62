//! What the first packet of a flow costs by the number of rules, beside nftables with the same rules.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use firewall_common::flow::KeyV4;
use firewall_user::tables::ignore_missing;
use lab::{
    Lab, Packet, conntrack,
    flood::{Flood, Segment},
    flows,
};

use super::{
    MACHINES, Plan, SENDING,
    cell::{brief, cell},
    firewall::{FWX, Firewall},
    forwarding,
    rules::{self, FORWARDED_PORT},
    ruleset::{self, COUNTS},
    site::{self, COMPLETED, HALF_OPEN, Site},
    turns::{self, Series},
};
use crate::{
    number::figure,
    section::{Chart, ChartKind, Line, Section, Table},
};

/// Most flows that begin in a turn: the table of those without an answer has room for all of them.
const MOST: u32 = 10_000;
const _: () = assert!(MOST < HALF_OPEN);
/// The fewest: some batches of the kernel's test-run, and what is sent to find out how long a packet takes.
const FEWEST: u32 = 640;
/// A turn's time, where a packet takes so long that it decides.
const LONGEST_NS: f64 = 150e6;
/// More than that of the packets cannot get lost unseen.
const LEAST_SHARE: f64 = 0.999;

/// An address of the flood's network.
const FIRST_CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 0, 0, 1), 1_025);

const METHOD: &str = "What is sent are SYNs from random sources in 11.0.0.0/8 to a TCP port of the receiver, each of which \
     begins a flow; rules of nftables at the receiver's interface count and drop them, and every one has to arrive. The \
     rulesets are the same: each rule names one of 50 networks and one of up to 200 ports and denies what comes from one \
     to the other, no two the same pair, and the last one allows these SYNs. nftables has conntrack on, and the rules as \
     a chain, one after the other, or as a verdict map (ip saddr . tcp dport, with intervals). Before and behind them \
     either has the same few rules. After each turn all flows are forgotten. The time of a packet is that of making, \
     sending, forwarding and dropping it one after the other; added is what exceeds that of no firewall in the same turn.";

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Nobody,
    Chain,
    VerdictMap,
    Fwx,
}

impl Contender {
    /// The first one is what the others are compared with.
    const ALL: [Self; 4] = [Self::Nobody, Self::Chain, Self::VerdictMap, Self::Fwx];

    /// What stands before it has its rules.
    fn firewall(self) -> Firewall {
        match self {
            Self::Fwx => FWX,
            _ => Firewall::Absent,
        }
    }
}

/// A contender and what is sent through its gateway.
struct Subject<'a> {
    contender: Contender,
    site: Site<'a>,
    flood: Flood<'a>,
}

/// What a number of rules came to, in the order of the contenders, in nanoseconds a packet.
struct Measured {
    rules: usize,
    all: Vec<Series<f64>>,
}

pub(super) fn measure(plan: &Plan) -> Result<Section> {
    let labs = Contender::ALL.map(|_| Lab::single()).into_iter().collect::<Result<Vec<_>>>()?;
    let subjects = Contender::ALL.into_iter().zip(&labs).map(|(contender, lab)| {
        lab.camera.nft(&rules::silence("eth0"))?;
        let site = Site::set_up(contender.firewall(), lab);
        site::receive_offload(&[&site], "on")?;
        let flood = Flood::of(Segment::Syn, &lab.client, server(lab)?)?;
        Ok(Subject { contender, site, flood })
    });
    let subjects = subjects.collect::<Result<Vec<_>>>()?;
    let mut measured = Vec::new();
    for count in COUNTS {
        let ready: Vec<_> = subjects
            .iter()
            .map(|subject| (subject, subject.prepare(count).map_err(|why| format!("{why:#}"))))
            .collect();
        let all = turns::in_turn(&ready, plan.new_flow_turns, |(subject, ready)| {
            let packets = ready.as_ref().map_err(|why| anyhow!("{why}"))?;
            subject.take(*packets)
        });
        measured.push(Measured { rules: count, all });
    }
    Ok(Section {
        title: "Rules beside nftables",
        method: format!(
            "{METHOD} {SENDING} Up to {} packets a turn, {} turns. {MACHINES}",
            figure(f64::from(MOST)),
            plan.new_flow_turns
        ),
        tables: vec![table(&subjects, &measured)],
        charts: vec![chart(&subjects, &measured)],
        goals: Vec::new(),
    })
}

impl Subject<'_> {
    fn name(&self) -> String {
        match self.contender {
            Contender::Nobody => "no firewall".to_owned(),
            Contender::Chain => "nftables, conntrack, chain of rules".to_owned(),
            Contender::VerdictMap => "nftables, conntrack, verdict map".to_owned(),
            Contender::Fwx => self.site.name().to_owned(),
        }
    }

    /// Gives it `count` rules, and finds out how many packets are sent in a turn.
    fn prepare(&self, count: usize) -> Result<u32> {
        self.site.stands()?;
        let lab = self.site.lab;
        match self.contender {
            Contender::Nobody => {}
            Contender::Chain => lab.gateway().nft(&ruleset::chain(count))?,
            Contender::VerdictMap => lab.gateway().nft(&ruleset::verdict_map(count))?,
            Contender::Fwx => {
                let sizes = [COMPLETED, HALF_OPEN];
                let policy = ruleset::policy(count, &["lan0", "wan0"], sizes);
                self.site.fwx()?.apply(&policy)?.success()?;
            }
        }
        // The gateway asks for the receiver's hardware address first, and keeps few packets meanwhile.
        let first = Packet::tcp(FIRST_CLIENT.into(), server(lab)?.into()).flags("S");
        forwarding::crosses(&lab.client, &lab.camera, first)?;
        Ok(packets(self.take(FEWEST)?))
    }

    /// Nanoseconds a packet. Flows that began are gone afterwards.
    fn take(&self, packets: u32) -> Result<f64> {
        let arrived = || forwarding::arrived(&self.site.lab.camera);
        let before = arrived()?;
        let time = self.flood.time_each(packets)?;
        let came = arrived()? - before;
        self.forget()?;
        ensure!(
            came as f64 >= f64::from(packets) * LEAST_SHARE,
            "{came} of {packets} packets arrived"
        );
        Ok(time.as_nanos() as f64)
    }

    fn forget(&self) -> Result<()> {
        match self.contender {
            Contender::Nobody => Ok(()),
            Contender::Chain | Contender::VerdictMap => {
                conntrack::forget_all(self.site.lab.gateway())
            }
            Contender::Fwx => {
                let mut table = flows::tables(self.site.fwx()?)?.half_open_v4()?;
                let keys: Vec<KeyV4> = table.keys().collect::<Result<_, _>>()?;
                keys.iter()
                    .try_for_each(|key| ignore_missing(table.remove(key)))
                    .context("cannot remove a flow")
            }
        }
    }
}

fn server(lab: &Lab) -> Result<SocketAddrV4> {
    match lab.camera.socket_v4(FORWARDED_PORT) {
        SocketAddr::V4(server) => Ok(server),
        SocketAddr::V6(_) => bail!("no IPv4 address"),
    }
}

/// How many packets are sent in a turn, when each takes so long.
fn packets(ns: f64) -> u32 {
    ((LONGEST_NS / ns.max(1.0)) as u32).clamp(FEWEST, MOST)
}

impl Measured {
    /// What the contender at `place` adds, in nanoseconds a packet.
    fn added(&self, place: usize) -> Option<f64> {
        self.all[place].over(&self.all[0]).median(|&ns| ns)
    }
}

fn table(subjects: &[Subject<'_>], measured: &[Measured]) -> Table {
    let mut columns = vec!["firewall".to_owned()];
    for Measured { rules, .. } in measured {
        let rules = figure(*rules as f64);
        columns.extend([format!("{rules} rules"), "added".to_owned()]);
    }
    columns.push("growth of what is added".to_owned());
    let row = |(place, subject): (usize, &Subject<'_>)| {
        let mut row = vec![subject.name()];
        for measured in measured {
            let series = &measured.all[place];
            match &series.trouble {
                Some(why) => row.extend([brief(why), String::new()]),
                None => row.extend([
                    cell(series.median(|&ns| ns), 0),
                    if place == 0 { String::new() } else { cell(measured.added(place), 0) },
                ]),
            }
        }
        row.push(if place == 0 { String::new() } else { cell(growth(measured, place), 2) });
        row
    };
    Table {
        title: "The first packet of a flow that the last rule allows, ns".to_owned(),
        columns,
        rows: subjects.iter().enumerate().map(row).collect(),
    }
}

/// What is added with the most rules, as a multiple of what is with the fewest.
fn growth(measured: &[Measured], place: usize) -> Option<f64> {
    let (few, many) = (measured.first()?, measured.last()?);
    Some(many.added(place)? / few.added(place)?)
}

fn chart(subjects: &[Subject<'_>], measured: &[Measured]) -> Chart {
    let line = |(place, subject): (usize, &Subject<'_>)| Line {
        name: subject.name(),
        points: measured
            .iter()
            .filter_map(|measured| {
                Some((measured.rules as f64, measured.all[place].median(|ns| ns / 1e3)?))
            })
            .collect(),
    };
    Chart {
        name: "wire-rules".to_owned(),
        title: "The first packet of a flow, beside nftables".to_owned(),
        value: "us a packet, made, forwarded and dropped".to_owned(),
        kind: ChartKind::Lines {
            over: "rules".to_owned(),
            lines: subjects.iter().enumerate().map(line).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_as_many_packets_as_time_allows() {
        assert_eq!(packets(500.0), MOST);
        assert_eq!(packets(100_000.0), 1_500);
        assert_eq!(packets(1e7), FEWEST);
        assert_eq!(packets(0.0), MOST);
    }
}
