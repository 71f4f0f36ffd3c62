//! `[anti_spoofing]`: what it means, what is said about a bad one, and what the kernel's tables hold of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::{
    classifier::{INTERFACES_LISTED_MAX, Lines as _, Listed, Sources, listed},
    policy::AntiSpoofing,
    wire::Packet,
};
use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

const GATEWAY: &str = "[gateway]\ninterfaces = ['lan0', 'wan0', 'dmz0']\ndefault = 'allow'\n";

/// What the image says of a source that came in by the interface of this number.
fn asked(compiled: &Compiled, interface: u16, source: IpAddr) -> Listed {
    let (version, source) = match source {
        IpAddr::V4(address) => (4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
        IpAddr::V6(address) => (6, bytemuck::cast(address.octets())),
    };
    let packet = Packet { version, source, ..Packet::default() };
    let lines = &compiled.image[..];
    let head = lines.head().expect("a head");
    let sources = Sources::of(lines.line(head.sources).expect("a line"));
    listed(lines, sources, interface, &packet).expect("a whole image")
}

/// The same, by looking at each list.
fn expected(policy: &Policy, interface: usize, source: IpAddr) -> Listed {
    let name = &policy.interfaces()[interface];
    let mut lists = policy.anti_spoofing().lists.iter();
    let Some(list) = lists.find(|list| list.interface == *name) else { return Listed::Unasked };
    let mut prefixes = list.networks.iter().flat_map(|&index| &policy.networks()[index].prefixes);
    if prefixes.any(|prefix| prefix.contains(&source)) { Listed::Yes } else { Listed::No }
}

fn first_problem(text: &str) -> (usize, usize, String, String) {
    let text = format!("{GATEWAY}[network.inside]\nprefixes = ['10.1.0.0/16']\n{text}");
    let error = Policy::parse("policy.toml", &text).expect_err("the policy is bad");
    let entry = error.entries().into_iter().next().expect("a problem");
    // Behind gateway and network.
    let line = entry.line.expect("it has a place") - 5;
    let column = entry.column.expect("it has a place");
    (line, column, entry.message, entry.help.unwrap_or_default())
}

#[test]
fn a_policy_that_says_nothing_checks_nothing() {
    for text in
        ["", "[anti_spoofing]\n", "[anti_spoofing]\nmode = 'off'\n[anti_spoofing.sources]\n"]
    {
        let policy = parsed(&format!("{GATEWAY}{text}"));
        assert!(!policy.anti_spoofing().is_on(), "{text}");
        let image = policy.compile().image;
        let head = image[..].head().expect("a head");
        assert_eq!((head.checks_sources, head.sources), (0, 0), "{text}");
    }
}

#[test]
fn mode_and_lists_are_understood() {
    let text = "[network.inside]\nprefixes = ['10.1.0.0/16', 'fd00:1::/64']\n\
                [network.outside]\nprefixes = []\n\
                [anti_spoofing]\nmode = 'strict'\n\
                [anti_spoofing.sources]\nlan0 = ['inside']\ndmz0 = ['outside', 'inside']\n";
    let policy = parsed(&format!("{GATEWAY}{text}"));
    let checks = policy.anti_spoofing();
    assert_eq!(checks.mode, AntiSpoofing::Strict);
    let lists: Vec<_> =
        checks.lists.iter().map(|list| (list.interface.as_str(), &list.networks[..])).collect();
    assert_eq!(lists, [("lan0", &[0][..]), ("dmz0", &[0, 1][..])]);
    let numbers = Numbers { rules: vec![], protocols: vec![], interfaces: vec![7, 200, 256] };
    let compiled = policy.compile_with(&numbers);
    let head = compiled.image[..].head().expect("a head");
    assert_eq!(head.checks_sources, 1);
    let sources = Sources::of(compiled.image[..].line(head.sources).expect("a line"));
    assert_eq!(sources.mode, AntiSpoofing::Strict as u32);
    for (source, inside) in
        [("10.1.2.3", Listed::Yes), ("10.2.0.0", Listed::No), ("fd00:1::9", Listed::Yes)]
    {
        let source = source.parse().expect("an address");
        let said =
            [7, 200, 256, 0, 8, 257, u16::MAX].map(|number| asked(&compiled, number, source));
        let not = Listed::Unasked;
        assert_eq!(said, [inside, not, inside, not, not, not, not], "{source}");
    }
    // Interfaces of the command line in place of the policy's: nothing is said about them.
    let other = policy.with_interfaces(vec!["eth9".to_owned()]).unwrap().compile();
    assert_eq!(asked(&other, 1, [10, 1, 2, 3].into()), Listed::Unasked);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, told) in [
        (
            "[anti_spoofing]\nmode = 'on'",
            (2, 8, "`on` is no mode", "it is one of: `off`, `loose`, `strict`"),
        ),
        (
            "[anti_spoofing]\nmod = 'strict'",
            (2, 1, "unknown key `mod` in [anti_spoofing]", "did you mean `mode`?"),
        ),
        (
            "[anti_spoofing.sources]\nlan1 = ['inside']",
            (2, 1, "there is no interface `lan1`", "did you mean `lan0`?"),
        ),
        (
            "[anti_spoofing.sources]\nlan0 = ['insde']",
            (2, 9, "there is no network `insde`", "did you mean `inside`?"),
        ),
        (
            "[anti_spoofing.sources]\nlan0 = 'inside'",
            (2, 8, "`sources` must be a list of strings, not a string", ""),
        ),
        (
            "[anti_spoofing.sources]\nlan0 = []",
            (
                2,
                8,
                "`sources` is an empty list, which would match nothing",
                "for any source leave the interface out, and the mode `\"off\"`",
            ),
        ),
        (
            "[limits]\nreject_per_second = 0",
            (
                2,
                21,
                "`reject_per_second` must be from 1 to 10000000, not `0`",
                "ICMP errors a second that answer rejects; 100 if left out. For no answers let the rules `deny`",
            ),
        ),
    ] {
        let (line, column, message, help) = first_problem(text);
        assert_eq!((line, column, message.as_str(), help.as_str()), told, "{text}");
    }
}

#[test]
fn more_interfaces_than_bits_are_refused() {
    let list = |count: usize| {
        let names: Vec<_> = (0..count).map(|index| format!("'eth{index}'")).collect();
        let lists: String = (0..count).map(|index| format!("eth{index} = ['inside']\n")).collect();
        let text = format!(
            "[gateway]\ninterfaces = [{}]\n[network.inside]\nprefixes = ['10.1.0.0/16']\n\
             [anti_spoofing.sources]\n{lists}",
            names.join(", ")
        );
        Policy::parse("policy.toml", &text)
    };
    let policy = list(INTERFACES_LISTED_MAX).expect("as many as there are bits");
    let compiled = policy.compile();
    let last = INTERFACES_LISTED_MAX as u16;
    assert_eq!(asked(&compiled, last, [10, 1, 0, 1].into()), Listed::Yes);
    assert_eq!(asked(&compiled, last, [10, 2, 0, 1].into()), Listed::No);
    let error = list(INTERFACES_LISTED_MAX + 1).expect_err("one more").to_string();
    assert!(error.contains("interfaces with a list of sources"), "{error}");
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

proptest! {
    #[test]
    fn the_image_says_what_the_lists_say(
        networks in prop::collection::vec(prop::collection::vec(prefix(), 0..4), 1..6),
        lists in prop::collection::vec(prop::collection::vec(0usize..6, 0..4), 3),
        sources in prop::collection::vec(address(), 20),
    ) {
        let mut text = GATEWAY.to_owned();
        for (index, prefixes) in networks.iter().enumerate() {
            let prefixes: Vec<_> = prefixes.iter().map(|it| format!("'{it}'")).collect();
            text += &format!("[network.n{index}]\nprefixes = [{}]\n", prefixes.join(", "));
        }
        text += "[anti_spoofing]\nmode = 'loose'\n[anti_spoofing.sources]\n";
        for (interface, list) in ["lan0", "wan0", "dmz0"].iter().zip(&lists) {
            if !list.is_empty() {
                let names: Vec<_> =
                    list.iter().map(|it| format!("'n{}'", it % networks.len())).collect();
                text += &format!("{interface} = [{}]\n", names.join(", "));
            }
        }
        let policy = parsed(&text);
        let compiled = policy.compile();
        for source in sources {
            for interface in 0..3 {
                let number = interface as u16 + 1;
                let said = asked(&compiled, number, source);
                prop_assert_eq!(said, expected(&policy, interface, source), "{} {}", interface, source);
            }
        }
    }
}
