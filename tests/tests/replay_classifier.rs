//! What the kernel's programs say about new flows is what the policy's rules say, one policy after the other; and while
//! one takes the other's place, each packet is judged by either as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use anyhow::ensure;
use aya::{
    maps::{Array, ArrayOfMaps, IterableMap, MapData, MapInfo},
    programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use firewall_common::{
    classifier::{Line, UNNAMED},
    flow::Flow,
    layout::Verdict,
    policy::{Action, InForce},
    wire::ip_protocol,
};
use firewall_user::{
    flows::FlowTable,
    generation::Over,
    object::{self, Purpose, TC_INGRESS, XDP_INGRESS},
    policy::{Compiled, Policy, TableSizes},
    replay::{Hook, Replay},
    tables::Tables,
};
use lab::{
    Packet,
    differential::Random,
    reference::{self, Asked, Size},
    wait,
};

const SECOND: u64 = 1_000_000_000;
const SIZES: TableSizes = TableSizes { completed: 1024, half_open: 65_536 };
/// Flows that each policy is asked about.
const FLOWS: u16 = 500;
/// The first source port: a flow is known by it, whichever policy let it in.
const PORT: u16 = 1024;

fn parsed(text: &str) -> Policy {
    Policy::parse("random", text).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

fn frame(asked: &Asked, source_port: u16) -> Vec<u8> {
    let source = SocketAddr::new(asked.source, source_port);
    let destination = SocketAddr::new(asked.destination, asked.port);
    match asked.protocol {
        ip_protocol::TCP => Packet::tcp(source, destination),
        ip_protocol::UDP => Packet::udp(source, destination),
        ip_protocol::ICMP | ip_protocol::ICMPV6 => {
            let ([kind, code], identifier) = (asked.icmp, u32::from(source_port) << 16);
            Packet::icmp(asked.source, asked.destination, kind, code, identifier)
        }
        other => Packet::other(asked.source, asked.destination, other),
    }
    .build()
}

/// A flow that the rules are asked about. Refused without them is one to itself, and so are ICMP's answers and errors,
/// where nobody asked; neighbours are discovered without them. What is ICMP for one family is not for the other here,
/// and no IPv6 extension header is a protocol.
fn for_rules(random: &mut Random, policy: &Policy) -> Asked {
    loop {
        let asked = Asked::random(random, policy);
        let [kind, _] = asked.icmp;
        let is_asked = match (asked.source.is_ipv4(), asked.protocol) {
            (true, ip_protocol::ICMPV6) | (false, ip_protocol::ICMP) => false,
            (true, ip_protocol::ICMP) => ![0, 3, 11, 12, 14, 16, 18, 43].contains(&kind),
            (false, ip_protocol::ICMPV6) => {
                ![1, 2, 3, 4, 129, 140, 161, 143].contains(&kind) && !(130..=137).contains(&kind)
            }
            (true, _) => true,
            (false, other) => ![0, 43, 44, 51, 60, 135, 139, 140].contains(&other),
        };
        if is_asked && asked.source != asked.destination {
            return asked;
        }
    }
}

/// What tells a flow of a protocol without ports from others.
fn without_ports(asked: &Asked) -> Option<(IpAddr, IpAddr, u8, u8)> {
    let [kind, _] = asked.icmp;
    let (a, b) = (asked.source.min(asked.destination), asked.source.max(asked.destination));
    let has_ports = matches!(asked.protocol, ip_protocol::TCP | ip_protocol::UDP);
    (!has_ports).then_some((a, b, asked.protocol, kind))
}

/// The rule and the protocol of each flow without an answer, by its number.
fn flows(tables: &Tables) -> BTreeMap<u64, (usize, usize)> {
    let mut flows = BTreeMap::new();
    for table in [FlowTable::HalfOpenV4, FlowTable::HalfOpenV6] {
        let entries = tables.each_entry(table, |entry| {
            let Flow { id, rule, protocol, .. } = entry.flow;
            flows.insert(id, (usize::from(rule), usize::from(protocol)));
        });
        entries.expect("the table can be read");
    }
    flows
}

#[test]
fn the_kernel_says_what_the_rules_say() {
    let large = Size { networks: 2000, prefixes: 5, protocols: 1000, rules: 10_000 };
    let small = (0..40).map(|index| {
        let (protocols, rules) = (1 + index % 9, 1 + index % 30);
        Size { networks: index % 13, prefixes: index % 3, protocols, rules }
    });
    let sizes = [
        large,
        Size { networks: 0, prefixes: 0, protocols: 0, rules: 0 },
        Size { networks: 5, prefixes: 3, protocols: 4, rules: 10 },
        Size { networks: 60, prefixes: 5, protocols: 30, rules: 3000 },
        large,
    ];
    // The names of rules are those of the first policy, which has most.
    let first = parsed(&reference::policy(0, large));
    let mut replay = Replay::with_sizes(Some(&first), None, Hook::Xdp, SIZES).expect("programs");
    let mut now = 1_000 * SECOND;
    let mut known = BTreeSet::new();
    let (mut by_interface, mut by_itself) = (0, 0);
    for (seed, size) in (0u16..).zip(sizes.into_iter().chain(small)) {
        let policy = parsed(&reference::policy(seed.into(), size));
        replay.tables().write_policy(&policy.compile(), Over::Policy).expect("a write");
        let mut random = Random::new(!u64::from(seed));
        let mut let_in = BTreeMap::new();
        for port in (PORT + seed * FLOWS..).take(usize::from(FLOWS)) {
            let asked = for_rules(&mut random, &policy);
            if without_ports(&asked).is_some_and(|flow| !known.insert(flow)) {
                // It may be one that was let in before.
                continue;
            }
            let (action, rule, protocol) = reference::judge(&policy, &asked);
            let elsewhere = Asked { interface: UNNAMED, ..asked };
            let tells = reference::judge(&policy, &elsewhere).1 != rule;
            by_interface += usize::from(tells && asked.interface != 0);
            by_itself += usize::from(tells && asked.interface == 0);
            let interface = usize::from(asked.interface).checked_sub(1);
            let interface = interface.map(|at| policy.interfaces()[at].as_str());
            replay.come_in_by(interface).expect("an interface of the policy");
            // So much later that the limit of events a second holds none back.
            now += SECOND;
            let outcome = replay.packet(now, &frame(&asked, port)).expect("a packet");
            let expected: &[Verdict] = match action {
                Action::Allow => &[Verdict::Pass],
                Action::Reject if asked.protocol == ip_protocol::TCP => &[Verdict::Reset],
                // Not from every address, nor to every one.
                Action::Reject => &[Verdict::Reject, Verdict::Drop],
                Action::Deny => &[Verdict::Drop],
            };
            assert!(expected.contains(&outcome.verdict), "policy {seed}: {asked:?}, rule {rule}");
            let events = replay.events().expect("events");
            if action == Action::Allow {
                let_in.insert(outcome.flow_id, (rule, protocol));
            } else {
                let [event] = &events[..] else { panic!("one event, not {events:?}") };
                let name = (rule != 0).then(|| format!("r{rule}"));
                assert_eq!(event.rule, name, "policy {seed}: {asked:?}");
            }
        }
        let there = flows(replay.tables());
        for (id, expected) in let_in {
            assert_eq!(there.get(&id), Some(&expected), "policy {seed}, flow {id}");
        }
    }
    assert!(by_interface > 100, "only {by_interface} flows were told by their interface");
    assert!(by_itself > 10, "only {by_itself} flows were told to be the gateway's own");
}

/// One of the ingress programs.
#[derive(Clone, Copy)]
enum Program<'a> {
    Xdp(&'a Xdp),
    Tc(&'a SchedClassifier),
}

impl Program<'_> {
    /// Whether a packet passes.
    fn passes(self, frame: &[u8]) -> bool {
        const XDP_PASS: u32 = 2;
        /// TCX_NEXT
        const NEXT: u32 = u32::MAX;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        match self {
            Self::Xdp(program) => {
                program.test_run(options).expect("a run").return_value == XDP_PASS
            }
            Self::Tc(program) => program.test_run(options).expect("a run").return_value == NEXT,
        }
    }
}

/// Flows on which two policies agree, and whether they let them begin.
fn agreed(policies: &[Policy; 2]) -> Vec<(Asked, bool)> {
    let [a, b] = policies;
    let mut random = Random::new(7);
    let mut agreed = Vec::new();
    let mut count = [0; 2];
    while count.iter().any(|count| *count < 200) {
        let policy = if random.chance(50) { a } else { b };
        // The test-run has no interface that the policy names.
        let asked = Asked { interface: UNNAMED, ..for_rules(&mut random, policy) };
        if without_ports(&asked).is_some() {
            continue;
        }
        let [of_a, of_b] = [a, b].map(|policy| reference::judge(policy, &asked).0);
        let allowed = [of_a, of_b].map(|action| action == Action::Allow);
        let counted = &mut count[usize::from(allowed[0])];
        if allowed[0] == allowed[1] && *counted < 200 {
            *counted += 1;
            agreed.push((asked, allowed[0]));
        }
    }
    agreed
}

/// Judges flows until `done`, and returns how many.
fn judge_until(
    done: &AtomicBool,
    program: Program<'_>,
    flows: &[(Asked, bool)],
    ports: u16,
) -> u64 {
    let mut judged = 0;
    let mut random = Random::new(ports.into());
    while !done.load(Ordering::Relaxed) {
        for (asked, allowed) in flows {
            // A flow that is new, or one that the policies would let begin too.
            let frame = frame(asked, ports + random.index(20_000) as u16);
            let passes = program.passes(&frame);
            assert_eq!(passes, *allowed, "after {judged} flows: {asked:?}");
            judged += 1;
        }
    }
    judged
}

/// The kernel's number of the image in force.
fn image_in_force(tables: &Tables) -> u32 {
    let in_force: Array<MapData, InForce> = tables.open("POLICY").expect("the table");
    let slot = in_force.get(&0, 0).expect("a read").slot;
    let images: ArrayOfMaps<MapData, Array<MapData, Line>> = tables.open("IMAGES").expect("images");
    let image = images.get(&slot, 0).expect("an image");
    IterableMap::map(&image).info().expect("its info").id()
}

#[test]
fn while_policies_change_each_packet_is_judged_by_one_of_them() {
    const SWAPS: usize = 1000;
    let size = Size { networks: 40, prefixes: 4, protocols: 12, rules: 300 };
    let policies = [1, 2].map(|seed| parsed(&reference::policy(seed, size)));
    let compiled: [Compiled; 2] = [policies[0].compile(), policies[1].compile()];
    let flows = agreed(&policies);
    let ebpf = object::load(Purpose::Bench, SIZES).expect("programs");
    let tables = Tables::of_loaded(&ebpf).expect("tables");
    tables.write_policy(&compiled[0], Over::Nothing).expect("a write");
    let programs = [XDP_INGRESS, TC_INGRESS].map(|name| ebpf.program(name).expect("a program"));
    let programs = programs.map(|program| match program {
        aya::programs::Program::Xdp(program) => Program::Xdp(program),
        aya::programs::Program::SchedClassifier(program) => Program::Tc(program),
        _ => panic!("it is of no type that fwx has"),
    });

    let done = AtomicBool::new(false);
    let judged = AtomicU64::new(0);
    let mut images = Vec::new();
    thread::scope(|scope| {
        for (program, ports) in programs.into_iter().zip([1024, 32_768]) {
            let (done, judged, flows) = (&done, &judged, &flows);
            scope.spawn(move || {
                judged.fetch_add(judge_until(done, program, flows, ports), Ordering::Relaxed);
            });
        }
        for swap in 1..=SWAPS {
            images.push(image_in_force(&tables));
            if let Err(error) = tables.write_policy(&compiled[swap % 2], Over::Policy) {
                done.store(true, Ordering::Relaxed);
                panic!("swap {swap}: {error:#}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let judged = judged.into_inner();
    assert!(judged > SWAPS as u64, "{judged} flows were judged while {SWAPS} policies changed");

    // What nothing refers to the kernel frees a moment later.
    wait::until("the old policies are gone", || {
        let left = images.iter().filter(|id| MapInfo::from_id(**id).is_ok()).count();
        ensure!(left == 0, "{left} of {SWAPS} are there");
        Ok(())
    })
    .unwrap();
}
