//! What of the time of bulk TCP the firewalls account for, packet by packet.

use super::{
    cell::{brief, cell},
    effort::Effort,
    forwarding::AtGateway,
};
use crate::{number::figure, section::Table};

/// With so many streams in one direction.
pub(super) struct Share {
    pub(super) name: String,
    /// fwx's in turns that were watched, or why there is none.
    pub(super) watched: Result<Watched, String>,
    /// That passed in the turns that are compared.
    pub(super) packets_per_second: PerFirewall,
}

/// What was seen in turns that were watched.
#[derive(Clone, Default)]
pub(super) struct Watched {
    pub(super) effort: Effort,
    /// That passed the gateway, in both directions together.
    pub(super) packets: f64,
    pub(super) bytes: f64,
    pub(super) seconds: f64,
}

/// `None`: nothing could be measured.
#[derive(Clone, Copy)]
pub(super) struct PerFirewall {
    pub(super) fwx: Option<f64>,
    pub(super) nftables: Option<f64>,
}

/// Of all comparisons.
pub(super) struct Shares {
    pub(super) all: Vec<Share>,
    pub(super) at_gateway: AtGateway,
}

impl Watched {
    fn programs(&self) -> f64 {
        self.effort.programs_ns() * 1e-9 / self.seconds
    }

    fn controller(&self) -> f64 {
        self.effort.controller_share()
    }
}

impl Share {
    /// What packets at their rate come to at the gateway, as a share of one CPU's time.
    fn at_gateway(&self, at_gateway: &AtGateway) -> PerFirewall {
        let share = |rate: Option<f64>, ns: Option<f64>| Some(rate? * ns? * 1e-9);
        PerFirewall {
            fwx: share(self.packets_per_second.fwx, at_gateway.fwx_ns),
            nftables: share(self.packets_per_second.nftables, at_gateway.nftables_ns),
        }
    }
}

impl Shares {
    pub(super) fn table(&self) -> Table {
        let columns = [
            "streams",
            "packets a second",
            "bytes a packet",
            "a run",
            "programs, %",
            "controller, %",
            "fwx at the gateway, %",
            "nftables at the gateway, %",
        ];
        Table {
            title: "What of one CPU's time the firewalls take for bulk TCP".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: self.all.iter().map(|share| self.row(share)).collect(),
        }
    }

    fn row(&self, share: &Share) -> Vec<String> {
        let percent = |share: Option<f64>| cell(share.map(|share| share * 100.0), 2);
        let mut row = vec![share.name.clone()];
        match &share.watched {
            Ok(watched) => {
                let Watched { effort, packets, bytes, seconds } = watched;
                row.push(figure((packets / seconds).round()));
                row.push(figure((bytes / packets).round()));
                row.push(effort.each());
                row.extend([watched.programs(), watched.controller()].map(|s| percent(Some(s))));
            }
            Err(why) => row.extend([brief(why).as_str(), "", "", "", ""].map(str::to_owned)),
        }
        let at_gateway = share.at_gateway(&self.at_gateway);
        row.extend([at_gateway.fwx, at_gateway.nftables].map(percent));
        row
    }

    /// What of a ratio fwx accounts for, in the figures of this run; nothing where they could not be had.
    pub(super) fn cause(&self) -> String {
        let parts = [self.watched(), self.by_forwarding()];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    fn watched(&self) -> Option<String> {
        let mut together = Watched::default();
        for share in &self.all {
            let Watched { effort, packets, bytes, seconds } = share.watched.as_ref().ok()?;
            together.effort.add(effort.clone());
            together.packets += packets;
            together.bytes += bytes;
            together.seconds += seconds;
        }
        let Watched { packets, bytes, seconds, .. } = together;
        let shortest = self.at_gateway.programs.as_ref().map_or(String::new(), |programs| {
            format!("; {} where the shortest frames are forwarded", programs.each())
        });
        let (programs, controller) = (together.programs(), together.controller());
        (packets > 0.0).then(|| {
            format!(
                "in turns of their own fwx's programs took {:.1} % of one CPU's time ({} at {} packets a second of {} \
                 bytes{shortest}), its controller {:.1} %: were one CPU the limit, that would be {:.2} times no firewall",
                programs * 100.0,
                together.effort.each(),
                figure((packets / seconds).round()),
                figure((bytes / packets).round()),
                controller * 100.0,
                1.0 - programs - controller,
            )
        })
    }

    /// nftables keeps no such statistics: what it and fwx add to the shortest frames, whose memory the caches hold, is
    /// the least that they take.
    fn by_forwarding(&self) -> Option<String> {
        let mean = |of: fn(PerFirewall) -> Option<f64>| {
            let all: Option<Vec<f64>> =
                self.all.iter().map(|share| of(share.at_gateway(&self.at_gateway))).collect();
            all.map(|all| all.iter().sum::<f64>() / all.len() as f64)
        };
        let (fwx, nftables) = (mean(|share| share.fwx)?, mean(|share| share.nftables)?);
        Some(format!(
            "what is added to the shortest frames at the gateway (Forwarding), {:.0} ns with fwx and {:.0} ns with \
             nftables, would be {:.1} % and {:.1} %",
            self.at_gateway.fwx_ns?,
            self.at_gateway.nftables_ns?,
            fwx * 100.0,
            nftables * 100.0,
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::effort::Ran, *};

    fn shares() -> Shares {
        let effort = Effort {
            programs: vec![Ran { name: "p", runs: 40_000, ns: 4e6 }],
            controller: Duration::from_millis(4),
            watched_for: Duration::from_millis(800),
        };
        let watched = Watched { effort, packets: 20_000.0, bytes: 6e8, seconds: 0.4 };
        let rates = PerFirewall { fwx: Some(50_000.0), nftables: Some(100_000.0) };
        Shares {
            all: vec![Share {
                name: "8".to_owned(),
                watched: Ok(watched),
                packets_per_second: rates,
            }],
            at_gateway: AtGateway {
                fwx_ns: Some(200.0),
                nftables_ns: Some(400.0),
                programs: Some(Effort {
                    programs: vec![Ran { name: "p", runs: 10, ns: 300.0 }],
                    ..Effort::default()
                }),
            },
        }
    }

    #[test]
    fn shares_are_packets_a_second_times_what_each_takes() {
        let table = shares().table();
        assert_eq!(
            table.rows,
            [["8", "50,000", "30,000", "p 100 ns", "1.00", "0.50", "1.00", "4.00"]]
        );
        let cause = shares().cause();
        for part in [
            "took 1.0 % of one CPU's time (p 100 ns at 50,000 packets a second of 30,000 bytes; p 30 ns where",
            "its controller 0.5 %: were one CPU the limit, that would be 0.98 times no firewall",
            "200 ns with fwx and 400 ns with nftables, would be 1.0 % and 4.0 %",
        ] {
            assert!(cause.contains(part), "{part} is not in {cause}");
        }
    }

    #[test]
    fn what_could_not_be_had_is_not_said() {
        let mut shares = shares();
        shares.at_gateway.nftables_ns = None;
        shares.all[0].watched = Err("no statistics".to_owned());
        assert_eq!(shares.cause(), "");
        let row = &shares.table().rows[0];
        assert_eq!(row[1], "no statistics");
        assert_eq!(row[6..], ["1.00", "–"]);
    }
}
