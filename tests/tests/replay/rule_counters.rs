//! What is counted for each rule: to the packet and the byte, whatever becomes of its flows and of the policy.

use std::collections::{BTreeMap, HashMap};

use firewall_common::{flow::State, layout::Verdict, reason::Reason};
use firewall_user::{
    apply::Change,
    flows::{Entry, FlowTable},
    generation::Over,
    instance,
    policy::{Policy, TableSizes},
    replay::{Hook, Outcome},
    rules::{self, Rule},
};
use lab::{
    Packet,
    differential::Random,
    replaying::{Conversation, FAMILIES, Family, Rig, Start, drops, passes},
};

const SECOND: u64 = 1_000_000_000;
const ETHERNET_HEADER_LEN: usize = 14;
/// What no rule speaks about.
const DEFAULT: &str = "(default)";
/// Ports, and the rules that speak about them as long as they are there.
const SERVICES: [(&str, u16, &str); 5] = [
    ("pages", 80, "allow"),
    ("cameras", 554, "allow"),
    ("names", 53, "allow"),
    ("terminals", 23, "deny"),
    ("mail", 25, "reject"),
];
/// The same rules in another order each time, some of them not there.
const POLICIES: [&[usize]; 4] = [&[0, 1, 2, 3, 4], &[4, 3, 2, 1, 0], &[3, 0, 2], &[2, 1, 4, 0]];

/// A policy with these of the services.
fn policy(services: &[usize]) -> Policy {
    let mut text = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"deny\"\n".to_owned();
    for (name, port, _) in SERVICES {
        for transport in ["tcp", "udp"] {
            text += &format!("[protocol.{name}-{transport}]\n");
            text += &format!("transport = \"{transport}\"\nports = [{port}]\n");
        }
    }
    for (name, _, action) in services.iter().map(|index| SERVICES[*index]) {
        text += &format!("[[rule]]\nname = \"{name}\"\naction = \"{action}\"\n");
        text += &format!("protocols = [\"{name}-tcp\", \"{name}-udp\"]\n");
    }
    Policy::parse("test.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What a rule did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Did {
    flows: u64,
    packets: u64,
    bytes: u64,
    refused_packets: u64,
    refused_bytes: u64,
}

impl Did {
    fn of(rule: &Rule) -> Self {
        Self {
            flows: rule.flows,
            packets: rule.packets,
            bytes: rule.bytes,
            refused_packets: rule.refused_packets,
            refused_bytes: rule.refused_bytes,
        }
    }
}

/// Programs, a policy that changes, and what has to have been counted.
struct Story {
    rig: Rig,
    state: instance::State,
    /// Names of the rules in force, by port.
    in_force: HashMap<u16, &'static str>,
    counted: BTreeMap<&'static str, Did>,
    /// The rule of each flow, and of the last TCP flow between two ends, or of the last that was rejected.
    flows: HashMap<u64, &'static str>,
    last: HashMap<usize, &'static str>,
    renewed: usize,
}

impl Story {
    fn begin(hook: Hook) -> Self {
        let first = policy(POLICIES[0]);
        let text = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"deny\"\n";
        let mut story = Self {
            rig: Rig::new(text, hook),
            state: instance::State::default(),
            in_force: HashMap::new(),
            counted: BTreeMap::new(),
            flows: HashMap::new(),
            last: HashMap::new(),
            renewed: 0,
        };
        story.apply(&first, POLICIES[0]);
        story
    }

    fn apply(&mut self, policy: &Policy, services: &[usize]) {
        let tables = self.rig.tables();
        let change = Change::new(policy, None, Some(&self.state), tables, true).unwrap();
        tables.write_policy(change.compiled(), Over::Policy).unwrap();
        self.state = change.done(std::mem::take(&mut self.state));
        self.in_force =
            services.iter().map(|index| (SERVICES[*index].1, SERVICES[*index].0)).collect();
    }

    /// Sends what the ends numbered `ends` say and counts what comes of it.
    fn send(&mut self, ends: usize, packet: &Packet, destination_port: u16) -> Outcome {
        let frame = packet.build();
        let bytes = (frame.len() - ETHERNET_HEADER_LEN) as u64;
        let outcome = self.rig.frame(&frame);
        let rule = self.in_force.get(&destination_port).copied().unwrap_or(DEFAULT);
        if outcome.reason == Reason::PolicyRulesDenied {
            let did = self.counted.entry(rule).or_default();
            did.refused_packets += 1;
            did.refused_bytes += bytes;
            if outcome.verdict == Verdict::Reset {
                self.last.insert(ends, rule);
            }
        }
        if outcome.verdict == Verdict::Pass {
            assert_ne!(outcome.flow_id, 0, "whatever passes here belongs to a flow");
            let is_new = !self.flows.contains_key(&outcome.flow_id);
            // By the answer to a second SYN the flow begins anew, and no rule is asked.
            let is_renewed = is_new && outcome.state == State::SynReceived;
            // What a rejection leaves for its own answer was not let in.
            let is_rejected = is_new && outcome.state == State::Killed;
            let rule = if is_renewed || is_rejected { self.last[&ends] } else { rule };
            self.renewed += usize::from(is_renewed);
            let rule = *self.flows.entry(outcome.flow_id).or_insert(rule);
            if !matches!(outcome.state, State::Unreplied | State::Assured) {
                self.last.insert(ends, rule);
            }
            let did = self.counted.entry(rule).or_default();
            did.flows += u64::from(is_new && !is_rejected);
            did.packets += 1;
            did.bytes += bytes;
        }
        outcome
    }

    /// What the kernel counted is what was counted here.
    fn compare(&self) {
        let told = rules::rules(&self.state, self.rig.tables()).unwrap();
        for rule in &told {
            let name = rule.name.as_deref().unwrap_or(DEFAULT);
            let expected = self.counted.get(name).copied().unwrap_or_default();
            assert_eq!(Did::of(rule), expected, "{name}: {told:#?}");
            assert_eq!(rule.last_hit_ns == 0, expected == Did::default(), "{name}");
            assert!(rule.last_hit_ns <= self.rig.now(), "{name}");
            assert_eq!(rule.gone, rule.action.is_none(), "{name}");
        }
        let order: Vec<_> = told.iter().filter_map(|rule| rule.name.as_deref()).collect();
        let in_force = self.state.rules_in_force.iter();
        let names = in_force.map(|number| self.state.rules[usize::from(*number) - 1].as_str());
        assert!(order.into_iter().zip(names).all(|(told, in_force)| told == in_force));
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for table in FlowTable::ALL {
            self.rig.tables().each_entry(table, |entry| entries.push(*entry)).unwrap();
        }
        entries
    }

    /// What an administrator, or the sweep, does to a flow.
    fn meddle(&self, random: &mut Random) {
        let entries = self.entries();
        if entries.is_empty() {
            return;
        }
        let Entry { key, flow } = &entries[random.index(entries.len())];
        let commander = self.rig.commander();
        match random.index(3) {
            0 => drop(commander.kill(key, flow.id, 1 << 20, self.rig.now()).unwrap()),
            1 => drop(commander.remove(key, flow.id).unwrap()),
            _ => {
                for Entry { key, flow } in &entries {
                    commander.expire(key, flow.id, self.rig.now()).unwrap();
                }
            }
        }
    }
}

/// Two ends that may talk.
#[derive(Clone, Copy)]
struct Ends {
    family: Family,
    client_port: u16,
    server_port: u16,
    talk: Conversation,
}

impl Ends {
    fn new(number: usize, seq: u32) -> Self {
        let services = [80, 554, 53, 23, 25, 9999];
        let (family, server_port) = (FAMILIES[number % 2], services[number / 2 % services.len()]);
        let client_port = 40_000 + number as u16;
        let starts = [Start { seq, ..Start::CLIENT }, Start { seq: !seq, ..Start::SERVER }];
        let talk = Conversation::of(family, client_port, server_port, starts);
        Self { family, client_port, server_port, talk }
    }

    /// Whatever comes next, and the port that it goes to.
    fn say(&mut self, random: &mut Random) -> (Packet, u16) {
        let (family, client, server) = (self.family, self.client_port, self.server_port);
        let payload = vec![0x55; random.index(1200)];
        match random.index(12) {
            0 => (self.talk.syn(), server),
            1 => (self.talk.syn_ack(), client),
            2..=4 => (self.talk.client_sends("A", &payload), server),
            5..=6 => (self.talk.server_sends("A", &payload), client),
            7 => (self.talk.client_sends("FA", b""), server),
            8 => (self.talk.server_sends("FA", b""), client),
            9 => (self.talk.client_sends("RA", b""), server),
            10 => (family.udp(client, server).payload(payload), server),
            _ => (family.udp_back(server, client).payload(payload), client),
        }
    }
}

#[test]
fn counters_are_exact_whatever_becomes_of_flows_and_policies() {
    const ENDS: usize = 24;
    const STEPS: u32 = 600;
    let policies = POLICIES.map(policy);
    let mut renewed = 0;
    for hook in [Hook::Xdp, Hook::Tc, Hook::Egress] {
        for seed in 1..=2 {
            let mut random = Random::new(seed);
            let mut story = Story::begin(hook);
            let mut ends: Vec<_> = (0..ENDS).map(|number| Ends::new(number, 1000)).collect();
            for step in 0..STEPS {
                let number = random.index(ENDS);
                match random.index(40) {
                    0 => story.meddle(&mut random),
                    1 => story.rig.wait(random.between(1, 7200) * SECOND),
                    2 => {
                        let next = random.index(POLICIES.len());
                        story.apply(&policies[next], POLICIES[next]);
                    }
                    // A connection from its beginning, over whatever was there.
                    3..=8 => {
                        ends[number] = Ends::new(number, step << 20);
                        let Ends { client_port: client, server_port: server, .. } = ends[number];
                        let talk = &mut ends[number].talk;
                        story.send(number, &talk.syn(), server);
                        story.send(number, &talk.syn_ack(), client);
                        story.send(number, &talk.client_sends("A", b""), server);
                    }
                    _ => {
                        let (packet, port) = ends[number].say(&mut random);
                        story.send(number, &packet, port);
                    }
                }
                if step % 20 == 0 {
                    story.compare();
                }
            }
            story.compare();
            renewed += story.renewed;
            // Nothing is left in the tables, and nothing of what was counted is lost.
            let commander = story.rig.commander();
            for Entry { key, flow } in story.entries() {
                assert!(commander.remove(&key, flow.id).unwrap());
            }
            assert!(story.entries().is_empty());
            story.apply(&policies[0], POLICIES[0]);
            story.compare();
            let all = story.counted.values();
            let sums = all.fold((0, 0), |(a, b), did| (a + did.packets, b + did.refused_packets));
            assert!(sums.0 > 50 && sums.1 > 10, "{hook:?} {seed}: {:?}", story.counted);
        }
    }
    assert!(renewed > 0, "no flow began anew");
}

#[test]
fn what_finds_no_room_is_not_counted_as_passed() {
    const ROOM: u16 = 8;
    let sizes = TableSizes { completed: ROOM.into(), half_open: 64 };
    for hook in [Hook::Xdp, Hook::Tc] {
        let mut rig = Rig::with_sizes(sizes, hook);
        let (mut packets, mut bytes) = (0, 0);
        for family in FAMILIES {
            for port in 1..=ROOM {
                Conversation::established(&mut rig, family, port, 80);
            }
            let mut late = Conversation::new(family, 999, 80);
            rig.expect("a SYN", &late.syn(), passes(State::SynSent));
            rig.expect("its answer", &late.syn_ack(), passes(State::SynReceived));
            let refused = drops(Reason::OutOfResources).in_state(State::SynReceived);
            let ack = late.client_sends("A", b"");
            rig.expect("the one that completes", &ack, refused);
            rig.expect("and again", &ack, refused);
            // 20 bytes of TCP each.
            let each = if family == Family::V4 { 40 } else { 60 };
            packets += 3 * u64::from(ROOM) + 2;
            bytes += (3 * u64::from(ROOM) + 2) * each;
        }
        let told = rules::rules(&instance::State::default(), rig.tables()).unwrap();
        let [default] = &told[..] else { panic!("one entry, not {told:#?}") };
        let flows = 2 * (u64::from(ROOM) + 1);
        let expected = Did { flows, packets, bytes, ..Did::default() };
        assert_eq!(Did::of(default), expected, "{hook:?}");
    }
}
