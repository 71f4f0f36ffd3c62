//! What holds for any policy, and for any text at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::classifier::{ASYMMETRIC, Dimension};
use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

/// Whether `address` is asymmetric, by looking at each prefix.
fn is_asymmetric(policy: &Policy, address: IpAddr) -> bool {
    let holds = |prefixes: &[IpNet]| prefixes.iter().any(|prefix| prefix.contains(&address));
    let network_holds = |index: usize| holds(&policy.networks()[index].prefixes);
    policy.asymmetric().iter().any(|declared| {
        holds(&declared.prefixes) || declared.networks.iter().any(|&index| network_holds(index))
    })
}

/// The rule whose only network is that of `address` in `policy`, of which each network has one, by looking at each.
fn first_rule(policy: &Policy, address: IpAddr) -> u16 {
    let holds = |network: &Network| network.prefixes.iter().any(|it| it.contains(&address));
    policy.networks().iter().position(holds).map_or(0, |index| index as u16 + 1)
}

/// Addresses with few different bits, so that prefixes often lie in each other.
fn address() -> impl Strategy<Value = IpAddr> {
    let bits = prop::sample::select(vec![0, 1, 1 << 9, 1 << 24, 1 << 31, (1 << 31) | 1, u32::MAX]);
    (any::<bool>(), bits.clone(), bits).prop_map(|(is_v4, high, low)| {
        if is_v4 {
            IpAddr::V4(Ipv4Addr::from_bits(high ^ low))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 96 | u128::from(low)))
        }
    })
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (address(), 0..=128u8).prop_map(|(address, length)| {
        let length_max = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length.min(length_max)).expect("the length is in range").trunc()
    })
}

/// A policy with `networks`, for each of which there is a rule. Asymmetric are those at the places `named`, and `prefixes`.
fn policy_text(networks: &[Vec<IpNet>], prefixes: &[IpNet], named: &[usize]) -> String {
    let mut text = "[gateway]\ninterfaces = ['lan0']\n".to_owned();
    for (index, prefixes) in networks.iter().enumerate() {
        text += &format!("[network.n{index}]\nprefixes = [{}]\n", quoted(prefixes));
        text += &format!("[[rule]]\nname = 'r{index}'\naction = 'allow'\nto = ['n{index}']\n");
    }
    if !prefixes.is_empty() {
        text += &format!("[[asymmetric]]\nprefixes = [{}]\n", quoted(prefixes));
    }
    for index in named {
        text += &format!("[[asymmetric]]\nnetworks = ['n{}']\n", index % networks.len());
    }
    text
}

fn quoted(prefixes: &[IpNet]) -> String {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| format!("'{prefix}'")).collect();
    prefixes.join(", ")
}

fn assert_lookup_agrees(policy: &Policy, compiled: &Compiled, address: IpAddr) {
    let (version, words) = match address {
        IpAddr::V4(address) => (4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
        IpAddr::V6(address) => (6, bytemuck::cast(address.octets())),
    };
    let packet = Packet { version, source: words, destination: words, ..Packet::default() };
    let class = classifier::class(&compiled.image[..], &packet, Dimension::Destination);
    let class = class.expect("a whole image");
    assert_eq!(class & ASYMMETRIC != 0, is_asymmetric(policy, address), "{address}");
    let judged = classifier::judge(&compiled.image[..], &packet, 0).expect("a whole image");
    assert_eq!(judged.rule, first_rule(policy, address), "{address}");
}

/// Words of the policy language, so that random text gets beyond the TOML parser.
fn fragment() -> impl Strategy<Value = String> {
    let words = [
        "[gateway]",
        "[network.a]",
        "[network.b]",
        "[protocol.a]",
        "[protocol.b]",
        "[filter.rtsp]",
        "[filter.x]",
        "[[rule]]",
        "[rule]",
        "[tables]",
        "[timeouts]",
        "[limits]",
        "[[asymmetric]]",
        "networks",
        "interface",
        "['lan0']",
        "[network]",
        "interfaces",
        "default",
        "prefixes",
        "transport",
        "ports",
        "filter",
        "mode",
        "profile",
        "name",
        "action",
        "from",
        "to",
        "protocols",
        "new_flow",
        "essential",
        "log",
        "completed",
        "half_open",
        "new_per_second",
        "half_open_per_source",
        "syn_attack",
        "syn_authentication",
        "established",
        "udp",
        " = ",
        " = ",
        " = ",
        ".",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
        "\n",
        "\n",
        "'tcp'",
        "'icmp'",
        "'gre'",
        "types",
        "['echo-request', 13, '3/4', '3/', 'x/1']",
        "'udp'",
        "'rtsp'",
        "'enforce'",
        "'allow'",
        "'a'",
        "['a', 'b']",
        "[1, 1.5, '1-9', 0x50]",
        "['10.0.0.0/8', '::1/64']",
        "'",
        "\"",
        "#",
        "é",
        "\u{1b}",
        "99999999999999999999",
        "-1",
        "65536",
        "'5d'",
        "'99999999999999999999d'",
        "true",
        "1979-05-27",
        "\"\"\"",
        "\r",
        "\u{0}",
    ];
    prop::sample::select(words.map(str::to_owned).to_vec())
}

/// Whatever is told about `text` can be told: in full, with places inside the text.
fn assert_told(text: &str) {
    let Err(error) = Policy::parse("fuzz", text) else { return };
    assert_places(&error, &[("fuzz", text)]);
}

/// Every problem lies in one of these files, or says that there is nothing in them.
fn assert_places(error: &PolicyError, files: &[(&str, &str)]) {
    assert!(!error.problems().is_empty());
    for (entry, problem) in error.entries().into_iter().zip(error.problems()) {
        let (Some(line), Some(column)) = (entry.line, entry.column) else {
            assert_eq!(problem.kind(), &ProblemKind::Empty);
            continue;
        };
        let file = files.iter().find(|(name, _)| *name == entry.file);
        let (_, text) = file.unwrap_or_else(|| panic!("{entry:?}"));
        let line = text.split('\n').nth(line - 1).unwrap_or_else(|| panic!("{entry:?}"));
        // A control character is shown as so many others as it has bytes.
        assert!((1..=line.len() + 1).contains(&column), "{entry:?}");
        assert!(entry.text.len() <= line.len(), "{entry:?}");
    }
    error.render(true);
}

/// `text` with some of it written over.
fn damaged(text: &str, damage: Vec<(usize, String)>) -> String {
    let mut text = text.to_owned();
    for (at, fragment) in damage {
        let end = (at + fragment.len()).min(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(end) && at <= end {
            text.replace_range(at..end, &fragment);
        }
    }
    text
}

proptest! {
    #[test]
    fn an_address_is_in_the_networks_around_it(
        networks in prop::collection::vec(prop::collection::vec(prefix(), 0..6), 1..10),
        asymmetric in prop::collection::vec(prefix(), 0..4),
        asymmetric_networks in prop::collection::vec(any::<usize>(), 0..3),
        addresses in prop::collection::vec(address(), 20),
        random in prop::collection::vec(any::<IpAddr>(), 20),
    ) {
        let policy = parsed(&policy_text(&networks, &asymmetric, &asymmetric_networks));
        let compiled = policy.compile();
        let prefixes = networks.iter().flatten().chain(&asymmetric);
        let edges: Vec<IpAddr> =
            prefixes.flat_map(|net| [net.network(), net.broadcast()]).collect();
        for address in addresses.into_iter().chain(random).chain(edges) {
            assert_lookup_agrees(&policy, &compiled, address);
        }
    }

    #[test]
    fn no_text_causes_a_panic(text in any::<String>()) {
        assert_told(&text);
    }

    #[test]
    fn no_mixture_of_words_causes_a_panic(words in prop::collection::vec(fragment(), 0..60)) {
        assert_told(&words.concat());
    }

    #[test]
    fn no_damage_to_a_policy_causes_a_panic(
        damage in prop::collection::vec((0..EXAMPLE.len(), fragment()), 1..4),
    ) {
        assert_told(&damaged(EXAMPLE, damage));
    }

    /// The same text in two files, cut between any two tables.
    #[test]
    fn no_damage_to_a_policy_of_two_files_causes_a_panic(
        damage in prop::collection::vec((0..EXAMPLE.len(), fragment()), 0..4),
        cut in 0..20usize,
    ) {
        let text = damaged(EXAMPLE, damage);
        let at = text.match_indices("\n[").nth(cut).map_or(text.len(), |(at, _)| at + 1);
        let (main, included) = text.split_at(at);
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.to_owned() };
        let sources = Sources::new(file("main", main), vec![file("included", included)]);
        match (sources.parse(), Policy::parse("whole", &text)) {
            (Ok(policy), Ok(whole)) => prop_assert_eq!(policy, whole),
            (Err(error), _) => assert_places(&error, &[("main", main), ("included", included)]),
            (Ok(_), Err(error)) => panic!("{}", error.render(false)),
        }
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        assert_told(&text);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("policy.toml");
        std::fs::write(&path, &bytes).expect("a temporary file");
        if let Err(error) = Policy::load(&path) {
            assert_places(&error, &[(&path.display().to_string(), &text)]);
        }
    }
}
