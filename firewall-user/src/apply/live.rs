//! Live flows under another policy: what it would say of them, and what becomes of those that it would not let in.

use std::{
    collections::{BTreeMap, HashMap},
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use firewall_common::{
    classifier::{self, Judgement, Line, Lines as _},
    essential::{self, Need},
    flow::{State, Timeouts},
    layout::Hook,
    policy::Action,
    reason::Reason,
    wire::{ECHO_PORT, Packet, ip_protocol},
};

use super::came_in::CameIn;
use crate::{
    command::Commander,
    conn::{self, Telling},
    flows::{Entry, FlowTable},
    instance::{Instance, InterfaceState},
    pinholes,
    policy::Live,
    ring::monotonic_ns,
    tables::Tables,
    takeover::words,
};

/// Types of ICMP (RFC 792) and ICMPv6 (RFC 4443 §4.1).
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
/// How many flows are ended at a time: what is told of them lies in memory meanwhile.
const ENDED_AT_ONCE: usize = 16_384;
/// How many flows are looked at between two looks at the clock.
const PACE: u64 = 65_536;

/// Says what a policy says of flows.
#[derive(Debug)]
pub struct Judge<'a> {
    /// The policy.
    pub image: &'a [Line],
    /// The timeouts in force: what is silent for longer is no flow any more.
    pub timeouts: Timeouts,
    /// The present, nanoseconds of the monotonic clock.
    pub now: u64,
    /// By which interfaces flows came in.
    pub came_in: CameIn,
}

impl Judge<'_> {
    /// What the first packet of a flow gets that goes from the one end to the other, and came in by the interface with
    /// this number; 0: by none.
    pub fn judge(
        &self,
        ip_protocol: u8,
        [source, destination]: [SocketAddr; 2],
        interface: u16,
    ) -> Judgement {
        let packet = Packet {
            version: if source.is_ipv4() { 4 } else { 6 },
            protocol: ip_protocol,
            source: words(source.ip()),
            destination: words(destination.ip()),
            source_port: source.port(),
            destination_port: destination.port(),
            icmp_type: icmp_type(ip_protocol, destination.port()),
            ..Packet::default()
        };
        // What is no image lets nothing in, as in the kernel.
        let nothing = Judgement { action: Action::Deny, rule: 0, protocol: 0, quiet: false };
        let Some(judgement) = classifier::judge(self.image, &packet, interface) else {
            return nothing;
        };
        let hook = if interface == 0 { Hook::Egress } else { Hook::Ingress };
        let wanted = self.image.head().map_or(0, |head| head.essential);
        match essential::need(&packet, hook, wanted) {
            Need::None => judgement,
            // Whatever the rules say.
            _ => Judgement { action: Action::Allow, rule: 0, ..judgement },
        }
    }

    fn of(&self, entry: &Entry) -> Judgement {
        self.judge(entry.flow.ip_protocol, entry.endpoints(), self.came_in.of(entry))
    }

    fn is_live(&self, entry: &Entry) -> bool {
        entry.alias().is_none()
            && !entry.flow.state().is_over()
            && entry.flow.state() != State::None
            && !entry.flow.expired(self.now, &self.timeouts)
    }

    /// Shows `visit` every live flow and what the policy says of it. What another connection announced gets what
    /// that one gets; one whose connection has ended goes on by itself, and gets nothing.
    fn each_flow(
        &self,
        tables: &Tables,
        mut visit: impl FnMut(&Entry, Option<Judgement>) -> Result<()>,
    ) -> Result<()> {
        let mut progress = Progress::new();
        let mut announced = Vec::new();
        let mut result = Ok(());
        for table in FlowTable::ALL {
            tables.each_entry(table, |entry| {
                if result.is_err() || !self.is_live(entry) {
                    return;
                }
                progress.one_more();
                if entry.flow.is_child() {
                    announced.push(*entry);
                } else {
                    result = visit(entry, Some(self.of(entry)));
                }
            })?;
        }
        result?;
        let fates = self.fates_of_parents(tables, &announced)?;
        announced.iter().try_for_each(|entry| visit(entry, fates.get(&entry.flow.id).copied()))
    }

    /// What the connections get that announced `entries`, by the numbers of these.
    fn fates_of_parents(
        &self,
        tables: &Tables,
        entries: &[Entry],
    ) -> Result<HashMap<u64, Judgement>> {
        let parents = pinholes::parents(tables, entries)?;
        let mut fates: HashMap<u64, Option<Judgement>> =
            parents.values().map(|parent| (*parent, None)).collect();
        if fates.is_empty() {
            return Ok(HashMap::new());
        }
        for table in FlowTable::ALL {
            tables.each_entry(table, |entry| {
                if self.is_live(entry)
                    && let Some(fate) = fates.get_mut(&entry.flow.id)
                {
                    // Such a flow belongs to no protocol of the policy.
                    *fate = Some(Judgement { protocol: 0, ..self.of(entry) });
                }
            })?;
        }
        let fate = |(child, parent)| Some((child, (*fates.get(&parent)?)?));
        Ok(parents.into_iter().filter_map(fate).collect())
    }
}

/// What a policy means for the live flows, by the numbers of rules; 0 stands for the default.
#[derive(Clone, Debug, Default)]
pub struct Impact {
    /// All of them.
    pub flows: u64,
    /// Those that it would not let in.
    pub not_admitted: u64,
    /// By the rule that let them in: how many, and how many of those the policy would not let in.
    pub by_rule: BTreeMap<u16, (u64, u64)>,
    /// By the rule that would let them in and did not: how many.
    pub gains: BTreeMap<u16, u64>,
}

impl Impact {
    /// Looks at every live flow. Memory does not depend on how many there are.
    pub fn of(judge: &Judge<'_>, tables: &Tables) -> Result<Self> {
        let mut impact = Self::default();
        judge.each_flow(tables, |entry, judgement| {
            impact.note(entry.flow.rule, judgement);
            Ok(())
        })?;
        Ok(impact)
    }

    fn note(&mut self, rule: u16, judgement: Option<Judgement>) {
        self.flows += 1;
        let (flows, refused) = self.by_rule.entry(rule).or_default();
        *flows += 1;
        match judgement {
            Some(judgement) if judgement.action != Action::Allow => {
                *refused += 1;
                self.not_admitted += 1;
            }
            Some(judgement) if judgement.rule != rule => {
                *self.gains.entry(judgement.rule).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// What became of the live flows.
#[derive(Debug, Default)]
pub struct Enforced {
    /// Flows that go on under another rule or protocol.
    pub reassigned: u64,
    /// Those that were ended.
    pub ended: conn::Killed,
}

/// Does to the live flows what `live` says, by the policy of `judge`, which is in force.
pub fn enforce(
    instance: &Instance,
    tables: &Tables,
    judge: &Judge<'_>,
    live: Live,
) -> Result<Enforced> {
    let mut enforced = Enforced::default();
    if live == Live::Keep {
        return Ok(enforced);
    }
    let commander = Commander::pinned(instance)?;
    let telling = Telling { reason: Reason::PolicyConnectionClosed, resets: live == Live::Kill };
    let end = |refused: &mut Vec<Entry>, ended: &mut conn::Killed| {
        ended.add(conn::end(instance, tables, &commander, refused, telling)?);
        refused.clear();
        anyhow::Ok(())
    };
    let mut refused = Vec::new();
    judge.each_flow(tables, |entry, judgement| {
        let Some(judgement) = judgement else { return Ok(()) };
        let flow = &entry.flow;
        if judgement.action != Action::Allow {
            refused.push(*entry);
            if refused.len() == ENDED_AT_ONCE {
                end(&mut refused, &mut enforced.ended)?;
            }
        } else if (flow.rule, flow.protocol) != (judgement.rule, judgement.protocol) {
            let (rule, protocol) = (judgement.rule, judgement.protocol);
            let done = commander.reassign(&entry.key, flow.id, rule, protocol)?;
            enforced.reassigned += u64::from(done);
        }
        Ok(())
    })?;
    if !refused.is_empty() {
        end(&mut refused, &mut enforced.ended)?;
    }
    Ok(enforced)
}

/// A line for whoever waits, once it takes long.
struct Progress {
    looked_at: u64,
    told: Instant,
    shown: bool,
}

impl Progress {
    const PERIOD: Duration = Duration::from_secs(1);

    fn new() -> Self {
        Self { looked_at: 0, told: Instant::now(), shown: false }
    }

    fn one_more(&mut self) {
        self.looked_at += 1;
        if self.looked_at.is_multiple_of(PACE) && self.told.elapsed() >= Self::PERIOD {
            self.told = Instant::now();
            let mut stderr = std::io::stderr();
            if stderr.is_terminal() {
                self.shown = true;
                // Who cannot be told misses nothing.
                let _ = write!(stderr, "\rfwx: {} live flows looked at", self.looked_at);
                let _ = stderr.flush();
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprintln!();
        }
    }
}

/// The type of the ICMP message that began a flow to this "port": that of an echo has a fixed one, of others the type
/// stands there. Of other protocols it does not matter.
fn icmp_type(ip_protocol: u8, port: u16) -> u8 {
    match (ip_protocol, port) {
        (ip_protocol::ICMPV6, ECHO_PORT) => ECHO_REQUEST_V6,
        (ip_protocol::ICMP, ECHO_PORT) => ECHO_REQUEST,
        // It was put there as a type.
        (_, port) => port as u8,
    }
}

/// A judge of this moment.
pub fn judge<'a>(
    image: &'a [Line],
    tables: &Tables,
    interfaces: &[InterfaceState],
) -> Result<Judge<'a>> {
    let came_in = CameIn::by(interfaces)?;
    Ok(Judge { image, timeouts: tables.timeouts()?, now: monotonic_ns(), came_in })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    const POLICY: &str = "[gateway]\ninterfaces = ['lan0']\n[network.lan]\nprefixes = ['10.1.0.0/24', \
                          'fd00:1::/64']\n[protocol.web]\ntransport = 'tcp'\nports = [80]\n[[rule]]\nname = \
                          'no'\naction = 'reject'\nto = ['lan']\n[[rule]]\nname = 'out'\naction = \
                          'allow'\nfrom = ['lan']\nprotocols = ['web']\n";

    #[test]
    fn a_flow_is_judged_from_the_end_that_began() {
        let compiled = Policy::parse("p", POLICY).unwrap().compile();
        let timeouts = Timeouts::default();
        let came_in = CameIn::default();
        let judge = Judge { image: &compiled.image, timeouts, now: 0, came_in };
        let of = |protocol, source: &str, destination: &str| {
            let ends = [source, destination].map(|end| end.parse().unwrap());
            let Judgement { action, rule, protocol, .. } = judge.judge(protocol, ends, 1);
            (action, rule, protocol)
        };
        assert_eq!(of(6, "10.1.0.2:40000", "10.2.0.2:80"), (Action::Allow, 2, 1));
        assert_eq!(of(6, "[fd00:1::2]:40000", "[fd00:2::2]:80"), (Action::Allow, 2, 1));
        assert_eq!(of(6, "10.2.0.2:80", "10.1.0.2:40000").0, Action::Reject);
        assert_eq!(of(17, "10.1.0.2:40000", "10.2.0.2:80"), (Action::Deny, 0, 0));
        let no_image = Judge { image: &[], came_in: CameIn::default(), ..judge };
        let ends = ["10.1.0.2:1", "10.2.0.2:80"].map(|end| end.parse().unwrap());
        assert_eq!(no_image.judge(6, ends, 1).action, Action::Deny);
    }

    #[test]
    fn flows_count_for_the_rule_that_let_them_in_and_the_one_that_would() {
        let judgement = |action, rule| Some(Judgement { action, rule, protocol: 0, quiet: false });
        let mut impact = Impact::default();
        impact.note(1, judgement(Action::Allow, 1));
        impact.note(1, judgement(Action::Allow, 3));
        impact.note(1, judgement(Action::Reject, 2));
        impact.note(0, judgement(Action::Deny, 0));
        impact.note(4, None);
        assert_eq!((impact.flows, impact.not_admitted), (5, 2));
        assert_eq!(impact.by_rule, BTreeMap::from([(0, (1, 1)), (1, (3, 1)), (4, (1, 0))]));
        assert_eq!(impact.gains, BTreeMap::from([(3, 1)]));
    }
}
