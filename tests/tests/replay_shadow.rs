//! A policy on trial: what the kernel's programs count of it is what both policies say, and what they do is what the one
//! in force says.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::ensure;
use aya::{
    maps::{Array, ArrayOfMaps, HashMap, IterableMap, MapData},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use firewall_common::{
    classifier::Line,
    flow::State,
    layout::Verdict,
    policy::{Action, InForce},
    reason::Reason,
    shadow::{FLOWS_MAX, PAIRS_MAX, Pair, SHADOW_SLOT},
    wire::ip_protocol,
};
use firewall_user::{
    event::Names,
    generation::Over,
    instance::State as Known,
    object::{self, Purpose, XDP_INGRESS},
    policy::{Numbers, Policy, TableSizes},
    replay::{Hook, Replay},
    shadow::{Comparison, Trial},
    tables::Tables,
};
use lab::{
    Packet,
    differential::Random,
    reference::{self, Asked, Size},
    replaying::{Conversation, FAMILIES, Family, Rig, Start, drops, passes},
    wait,
};

const SECOND: u64 = 1_000_000_000;
const SIZES: TableSizes = TableSizes { completed: 1024, half_open: 65_536 };
/// First packets that each pair of policies is asked about.
const FLOWS: u16 = 800;

/// A pair of rules by their names, and what they say.
type Rules = (Option<String>, &'static str, Option<String>, &'static str);

fn parsed(text: &str) -> Policy {
    Policy::parse("random", text).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

fn frame(asked: &Asked, source_port: u16) -> Vec<u8> {
    let source = SocketAddr::new(asked.source, source_port);
    let destination = SocketAddr::new(asked.destination, asked.port);
    match asked.protocol {
        ip_protocol::TCP => Packet::tcp(source, destination),
        _ => Packet::udp(source, destination),
    }
    .build()
}

/// The first packet of a flow that its ports tell from others.
fn for_rules(random: &mut Random, policy: &Policy) -> Asked {
    loop {
        let asked = Asked::random(random, policy);
        let has_ports = matches!(asked.protocol, ip_protocol::TCP | ip_protocol::UDP);
        if has_ports && asked.source != asked.destination {
            return asked;
        }
    }
}

fn named(action: Action) -> &'static str {
    match action {
        Action::Deny => "deny",
        Action::Allow => "allow",
        Action::Reject => "reject",
    }
}

fn counted(comparison: &Comparison) -> BTreeMap<Rules, u64> {
    let rules = comparison.differences.iter().map(|it| {
        let rules = (it.rule.clone(), it.action, it.shadow_rule.clone(), it.shadow_action);
        (rules, it.count)
    });
    rules.collect()
}

/// Sends flows of either policy through the programs, some of them twice, and compares what was counted.
fn compare(replay: &mut Replay, policies: &[Policy; 2], seed: u64, now: &mut u64) {
    let mut random = Random::new(seed);
    let mut pairs = BTreeMap::new();
    let (mut alike, mut different) = (0, 0);
    for port in 1024..1024 + FLOWS {
        let by = usize::from(random.chance(50));
        let asked = for_rules(&mut random, &policies[by]);
        let interface = usize::from(asked.interface).checked_sub(1);
        let interface = interface.map(|at| policies[0].interfaces()[at].as_str());
        replay.come_in_by(interface).expect("an interface of the policy");
        let [acting, shadow] = policies.each_ref().map(|it| reference::judge(it, &asked));
        for round in 0..=u32::from(random.chance(30)) {
            *now += SECOND;
            let outcome = replay.packet(*now, &frame(&asked, port)).expect("a packet");
            let expected: &[Verdict] = match acting.0 {
                Action::Allow => &[Verdict::Pass],
                Action::Reject if asked.protocol == ip_protocol::TCP => &[Verdict::Reset],
                // Not from every address, nor to every one.
                Action::Reject => &[Verdict::Reject, Verdict::Drop],
                Action::Deny => &[Verdict::Drop],
            };
            let verdict = outcome.verdict;
            assert!(expected.contains(&verdict), "{verdict:?}, {asked:?}: {acting:?}, {shadow:?}");
            if round > 0 && acting.0 == Action::Allow {
                // It belongs to the flow that began with the one before.
            } else if acting.0 == shadow.0 {
                alike += 1;
            } else {
                different += 1;
                let name = |rule: usize| (rule != 0).then(|| format!("r{rule}"));
                let rules = (name(acting.1), named(acting.0), name(shadow.1), named(shadow.0));
                *pairs.entry(rules).or_insert(0) += 1;
            }
        }
    }
    let comparison = replay.comparison(usize::MAX).expect("a comparison");
    assert_eq!((comparison.alike, comparison.different), (alike, different));
    assert_eq!((comparison.uncounted, comparison.unlisted), (0, 0));
    assert_eq!(counted(&comparison), pairs);
    for pair in &comparison.differences {
        let seen: u64 = pair.flows.iter().map(|flow| flow.count).sum();
        assert_eq!(seen, pair.count, "{pair:?}");
        assert!(pair.flows.is_sorted_by(|a, b| a.last_seen >= b.last_seen), "{pair:?}");
    }
    assert!(alike > 0 && different > 0, "{alike} and {different} show something");
}

#[test]
fn the_kernel_counts_where_two_judgements_differ() {
    let sizes = [
        Size { networks: 5, prefixes: 3, protocols: 4, rules: 10 },
        Size { networks: 60, prefixes: 5, protocols: 30, rules: 3000 },
        Size { networks: 20, prefixes: 2, protocols: 10, rules: 60 },
    ];
    let policies: Vec<_> =
        (10..).zip(sizes).map(|(seed, size)| parsed(&reference::policy(seed, size))).collect();
    let mut now = 1_000 * SECOND;
    let mut replay = None;
    for (seed, (acting, shadow)) in (0..).zip([(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)]) {
        let pair = [policies[acting].clone(), policies[shadow].clone()];
        let replay = match &mut replay {
            None => replay.insert(
                Replay::with_sizes(Some(&pair[0]), None, Hook::Xdp, SIZES).expect("programs"),
            ),
            Some(replay) => {
                replay.begin_anew(Some(&pair[0]), None).expect("the same programs");
                replay
            }
        };
        replay.compare_with(&pair[1]).expect("a shadow");
        compare(replay, &pair, seed, &mut now);
    }
}

/// A policy with these rules, each of which does something about one TCP port.
fn ports(default: &str, rules: &[(&str, &str, u16)]) -> String {
    let mut text = format!("[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"{default}\"\n");
    for (name, action, port) in rules {
        text += &format!(
            "[protocol.{name}]\ntransport = \"tcp\"\nports = [{port}]\n[[rule]]\nname = \"{name}\"\naction = \
             \"{action}\"\nprotocols = [\"{name}\"]\n"
        );
    }
    text
}

fn rules(
    (rule, action): (Option<&str>, &'static str),
    (shadow_rule, shadow_action): (Option<&str>, &'static str),
) -> Rules {
    (rule.map(str::to_owned), action, shadow_rule.map(str::to_owned), shadow_action)
}

#[test]
fn only_the_policy_in_force_acts_at_every_hook() {
    for hook in [Hook::Xdp, Hook::Tc, Hook::Egress] {
        let acting = ports("deny", &[("web", "allow", 80), ("mail", "deny", 25)]);
        let shadow = ports("allow", &[("mail", "reject", 25), ("web", "deny", 80)]);
        let mut rig = Rig::new(&acting, hook);
        rig.compare_with(&shadow);
        for family in FAMILIES {
            for _ in 0..2 {
                rig.expect("web", &family.tcp(40_000, 80), passes(State::SynSent));
                for (port, rule) in [(25, Some("mail")), (443, None)] {
                    let syn = family.tcp(40_000, port);
                    rig.expect("another", &syn, drops(Reason::PolicyRulesDenied));
                    let [event] = &rig.events()[..] else { panic!("one event") };
                    assert_eq!(event.rule.as_deref(), rule, "it is told by the policy in force");
                    assert_eq!(event.protocol.as_deref(), rule);
                }
            }
        }
        let comparison = rig.comparison(10);
        assert_eq!((comparison.judged, comparison.alike), (10, 0), "{hook:?}");
        let expected = [
            (rules((Some("web"), "allow"), (Some("web"), "deny")), 2),
            (rules((Some("mail"), "deny"), (Some("mail"), "reject")), 4),
            (rules((None, "deny"), (None, "allow")), 4),
        ];
        assert_eq!(counted(&comparison), BTreeMap::from(expected), "{hook:?}");
        let [.., web] = &comparison.differences[..] else { panic!("there are some") };
        let mut ends: Vec<_> = web.flows.iter().map(|it| (it.src_ip, it.dst_ip)).collect();
        ends.sort();
        assert_eq!(ends, FAMILIES.map(|it| (it.client(), it.camera())), "{hook:?}");
        let flow = &web.flows[0];
        assert_eq!((flow.src_port, flow.dst_port, flow.count), (Some(40_000), Some(80), 1));
        assert_eq!((&*flow.transport, flow.interface.as_deref()), ("tcp", Some("lan0")));
    }
}

/// What came from the one end is begun anew by the other: the rules are asked about the other direction.
#[test]
fn a_connection_that_begins_anew_is_compared_by_the_direction_that_it_takes() {
    let acting = ports("allow", &[]);
    let shadow = ports("deny", &[("web", "allow", 80)]);
    let mut rig = Rig::new(&acting, Hook::Xdp);
    rig.compare_with(&shadow);
    for family in FAMILIES {
        Conversation::established(&mut rig, family, 40_000, 80);
        let (client, server) = (family.client_at(40_000), family.camera_at(80));
        let mut anew = Conversation::between_with(
            server,
            client,
            [7_000_000, 9_000_000].map(|seq| Start { seq, ..Start::CLIENT }),
        );
        rig.expect("the server's SYN", &anew.syn(), passes(State::Established));
        rig.expect("its answer", &anew.syn_ack(), passes(State::SynReceived));
    }
    let comparison = rig.comparison(10);
    assert_eq!((comparison.alike, comparison.different), (2, 2));
    let [pair] = &comparison.differences[..] else { panic!("one, not {comparison:?}") };
    assert_eq!((pair.action, pair.shadow_action), ("allow", "deny"));
    for flow in &pair.flows {
        let family = if flow.src_ip.is_ipv4() { Family::V4 } else { Family::V6 };
        assert_eq!((flow.src_ip, flow.src_port), (family.camera(), Some(80)));
        assert_eq!((flow.dst_ip, flow.dst_port), (family.client(), Some(40_000)));
    }
}

#[test]
fn counts_are_about_the_policies_that_are_there() {
    let [web, none] = [ports("deny", &[("web", "allow", 80)]), ports("deny", &[])];
    let mut rig = Rig::new(&web, Hook::Xdp);
    let mut port = 40_000;
    let mut try_web = |rig: &mut Rig| {
        port += 1;
        rig.frame(&Family::V4.tcp(port, 80).build());
        let comparison = rig.comparison(0);
        (comparison.alike, comparison.different, comparison.differences.len())
    };
    assert_eq!(try_web(&mut rig), (0, 0, 0), "there is no shadow");
    rig.compare_with(&none);
    assert_eq!(try_web(&mut rig), (0, 1, 1));
    assert_eq!(try_web(&mut rig), (0, 2, 1));
    rig.compare_with(&web);
    assert_eq!(try_web(&mut rig), (1, 0, 0), "another shadow");
    let compiled = parsed(&none).compile();
    rig.tables().write_policy(&compiled, Over::Policy).expect("a write");
    assert_eq!(try_web(&mut rig), (0, 1, 1), "another policy in force");
    let again = |rig: &Rig| {
        rig.tables().write_policy(&compiled, Over::PolicyKeepingBindings).expect("a write");
    };
    again(&rig);
    assert_eq!(try_web(&mut rig), (0, 2, 1), "the same policy in force");
    let mut table: Array<MapData, InForce> = rig.tables().open("POLICY").expect("the table");
    let in_force = InForce { shadow: 0, ..rig.tables().in_force().expect("a read") };
    table.set(0, in_force, 0).expect("a write");
    assert_eq!(try_web(&mut rig), (0, 2, 1), "a change is cut off, and nothing compared");
    again(&rig);
    assert_eq!(try_web(&mut rig), (0, 1, 1), "the next change begins it anew");
    rig.tables().end_shadow().expect("an end");
    assert_eq!(try_web(&mut rig), (0, 0, 0), "no shadow any more");
    rig.tables().write_policy(&compiled, Over::Policy).expect("a write");
    assert_eq!(try_web(&mut rig), (0, 0, 0), "nor later");
}

#[test]
fn what_finds_no_room_is_counted() {
    let mut rig = Rig::new(&ports("allow", &[]), Hook::Xdp);
    rig.compare_with(&ports("deny", &[]));
    let mut pairs: HashMap<MapData, Pair, u64> =
        rig.tables().open("SHADOW_PAIRS").expect("a table");
    for number in 0..PAIRS_MAX {
        // Of rules that there are not.
        let pair = Pair { rules: [1, number as u16], actions: [1, 0], reserved: 0 };
        pairs.insert(pair, 1, 0).expect("there is room");
    }
    rig.expect("a SYN", &Family::V4.tcp(40_000, 80), passes(State::SynSent));
    let comparison = rig.comparison(1);
    assert_eq!((comparison.different, comparison.uncounted, comparison.unlisted), (1, 1, 0));
    assert_eq!(comparison.differences.len(), PAIRS_MAX);
}

#[test]
fn of_many_flows_the_newest_are_remembered_and_all_are_counted() {
    let mut rig = Rig::new(&ports("deny", &[]), Hook::Xdp);
    rig.compare_with(&ports("allow", &[]));
    let flows = 2 * FLOWS_MAX as u16;
    for port in 1..=flows {
        rig.frame(&Family::V4.tcp(port, 80).build());
    }
    let comparison = rig.comparison(3);
    assert_eq!((comparison.different, comparison.unlisted), (u64::from(flows), 0));
    let [pair] = &comparison.differences[..] else { panic!("one pair") };
    assert_eq!(pair.count, u64::from(flows));
    assert!(pair.remembered <= FLOWS_MAX && pair.remembered > FLOWS_MAX / 2, "{}", pair.remembered);
    let shown: Vec<_> = pair.flows.iter().map(|flow| flow.src_port).collect();
    assert_eq!(shown, [flows, flows - 1, flows - 2].map(Some));
}

/// Policies in force take each other's place while packets are judged on several processors.
#[test]
fn no_count_is_about_a_policy_that_is_there_no_more() {
    const SWAPS: usize = 100;
    let ebpf = object::load(Purpose::Bench, SIZES).expect("programs");
    let tables = Tables::of_loaded(&ebpf).expect("tables");
    // Each denies by a rule of its own, so that every packet is one that a new flow would begin with.
    let names = ["first", "second"];
    let policies = names.map(|name| parsed(&ports("allow", &[(name, "deny", 80)])));
    let compiled = [(1, &policies[0]), (2, &policies[1])].map(|(number, policy)| {
        policy.compile_with(&Numbers { rules: vec![number], ..Numbers::fresh(policy) })
    });
    tables.write_policy(&compiled[0], Over::Nothing).expect("a write");
    let known = Known { rules: names.map(str::to_owned).to_vec(), ..Known::default() };
    let shadow = Trial::new(&parsed(&ports("allow", &[])), &known, &tables).expect("a trial");
    shadow.begin(&tables).expect("a shadow");
    let told = Names { rules: known.rules, ..Names::default() };

    let program: &Xdp = ebpf.program(XDP_INGRESS).expect("it").try_into().expect("for XDP");
    let done = AtomicBool::new(false);
    let compared = thread::scope(|scope| {
        for port in [40_000, 50_000] {
            let done = &done;
            scope.spawn(move || {
                let frame = Family::V4.tcp(port, 80).build();
                while !done.load(Ordering::Relaxed) {
                    let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
                    program.test_run(options).expect("a run");
                }
            });
        }
        let swaps = (1..=SWAPS).map(|swap| {
            tables.write_policy(&compiled[swap % 2], Over::Policy)?;
            let compared = wait::until("packets are compared", || {
                let compared = Comparison::read(&tables, &told, 0, 0)?;
                ensure!(compared.judged > 0, "none is");
                Ok(compared)
            })?;
            let rules = compared.differences.into_iter().filter_map(|it| it.rule);
            Ok((swap, rules.collect()))
        });
        let swaps: anyhow::Result<Vec<(usize, Vec<String>)>> = swaps.collect();
        done.store(true, Ordering::Relaxed);
        swaps.expect("policies can be changed")
    });
    for (swap, rules) in compared {
        assert_eq!(rules, [names[swap % 2]], "after change {swap}");
    }
}

/// What the kernel says that a table takes, bytes.
fn memory_of(table: &MapData) -> u64 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", table.fd().as_fd().as_raw_fd()));
    let info = info.expect("a table is a file");
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.expect("each table says it").trim().parse().expect("a number")
}

/// What the shadow's image, if there is one, and the counters of pairs take.
fn memory(tables: &Tables) -> u64 {
    let images: ArrayOfMaps<MapData, Array<MapData, Line>> = tables.open("IMAGES").expect("images");
    let image = images.get(&SHADOW_SLOT, 0);
    let image = image.map_or(0, |image| memory_of(IterableMap::map(&image)));
    image + memory_of(&tables.data("SHADOW_PAIRS").expect("a table"))
}

#[test]
fn what_a_shadow_takes_is_given_back() {
    let mut rig = Rig::new(&ports("allow", &[]), Hook::Xdp);
    let before = memory(rig.tables());
    let large = Size { networks: 200, prefixes: 5, protocols: 100, rules: 2000 };
    let shadow = reference::policy(3, large);
    rig.compare_with(&shadow);
    for port in 1..=200 {
        rig.frame(&Family::V4.tcp(40_000 + port, port).build());
    }
    let size = size_of_val(&parsed(&shadow).compile().image[..]) as u64;
    let with = memory(rig.tables());
    assert!(with >= before + size, "{before}, {with}, of which the image {size}");
    rig.tables().end_shadow().expect("an end");
    let after = memory(rig.tables());
    // An image of one line, in a page of its own.
    assert!(after <= before + 8192, "{before}, {with}, {after}");
}
