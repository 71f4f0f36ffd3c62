//! What the kernel's tables hold of a policy.

use std::net::IpAddr;

use firewall_common::{
    classifier::{self, ASYMMETRIC, Dimension, Head, Judgement, Lines as _, Terms},
    policy::{NETWORKS_MAX, PROTOCOLS_MAX, RULES_MAX},
    wire::{Packet, ip_protocol},
};

use super::*;

fn packet(from: &str, to: &str, protocol: u8, port: u16) -> Packet {
    let words = |address: &str| match address.parse().expect("an address") {
        IpAddr::V4(address) => (4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
        IpAddr::V6(address) => (6, bytemuck::cast(address.octets())),
    };
    let (version, source) = words(from);
    let (_, destination) = words(to);
    Packet { version, source, destination, protocol, destination_port: port, ..Packet::default() }
}

fn judged(compiled: &Compiled, packet: &Packet) -> Judgement {
    classifier::judge(&compiled.image[..], packet, 0).expect("a whole image")
}

fn is_asymmetric(compiled: &Compiled, address: &str) -> bool {
    let packet = packet(address, address, 0, 0);
    let class = classifier::class(&compiled.image[..], &packet, Dimension::Source);
    class.expect("a whole image") & ASYMMETRIC != 0
}

#[test]
fn the_example_compiles() {
    let compiled = parsed(EXAMPLE).compile();
    let judged = |from, to, protocol, port| {
        let Judgement { action, rule, protocol, quiet: _ } =
            judged(&compiled, &packet(from, to, protocol, port));
        (action, rule, protocol)
    };
    let (inside, branch) = ("10.1.0.7", "10.2.255.255");
    let (tcp, udp) = (ip_protocol::TCP, ip_protocol::UDP);
    assert_eq!(judged(inside, branch, tcp, 554), (Action::Allow, 1, 1));
    assert_eq!(judged(inside, branch, tcp, 8010), (Action::Allow, 1, 1));
    assert_eq!(judged(inside, branch, tcp, 8011), (Action::Reject, 2, 0));
    assert_eq!(judged(inside, branch, udp, 53), (Action::Reject, 2, 2));
    assert_eq!(judged(branch, inside, tcp, 554), (Action::Reject, 2, 1));
    assert_eq!(judged("fd00:1::1", "fd00:2::1", tcp, 554), (Action::Reject, 2, 1));
    assert_eq!(judged(inside, branch, ip_protocol::ICMP, 554), (Action::Reject, 2, 0));

    let (number, rtsp) = compiled.bindings[0];
    assert_eq!((number, rtsp.filter), (1, FilterId::Rtsp as u8));
    assert_eq!((rtsp.mode, rtsp.profile), (Mode::Enforce as u8, Profile::Strict as u8));
    assert_eq!(compiled.bindings[1], (2, Default::default()), "no filter is bound to dns");

    let terms = |number| compiled.image[..].terms(number).copied();
    let cameras =
        Terms { action: Action::Allow as u32, half_open_max: 50, new_per_second: 20, flags: 0 };
    assert_eq!(terms(1), Some(cameras));
    assert_eq!(terms(3), None);
}

#[test]
fn what_the_example_says_of_tracking_compiles() {
    let compiled = parsed(EXAMPLE).compile();
    let head = *compiled.image[..].head().expect("a head");
    let expected = Head {
        default_action: Action::Deny as u32,
        source_half_open_max: 100,
        source_new_per_second: 0,
        syn_attack_per_second: 0,
        syn_authentication: SynAuthentication::Auto as u8,
        new_flow: NewFlow::Monitor as u8,
        has_asymmetric: 1,
        checks_sources: 0,
        reject_per_second: 7,
        ..head
    };
    assert_eq!(head, expected);
    assert_eq!(compiled.tables, TableSizes { completed: 65_536, half_open: 262_144 });
    assert_eq!(compiled.timeouts.get(Timeout::Established), 43_200_000_000_000);
}

#[test]
fn rules_and_protocols_have_the_numbers_that_they_are_given() {
    let numbers = Numbers { rules: vec![700, 3], protocols: vec![9, 4000], interfaces: vec![1, 2] };
    let compiled = parsed(EXAMPLE).compile_with(&numbers);
    let rtsp = judged(&compiled, &packet("10.1.0.7", "10.2.0.1", ip_protocol::TCP, 554));
    assert_eq!((rtsp.rule, rtsp.protocol), (700, 9));
    let dns = judged(&compiled, &packet("10.1.0.7", "10.2.0.1", ip_protocol::UDP, 53));
    assert_eq!((dns.rule, dns.protocol, dns.action), (3, 4000, Action::Reject));
    let bound: Vec<_> = compiled.bindings.iter().map(|(number, _)| *number).collect();
    assert_eq!(bound, [9, 4000]);
}

#[test]
fn an_address_is_in_every_network_around_it() {
    let rules: String = ["lab", "ten", "world"]
        .iter()
        .map(|it| format!("[[rule]]\nname = '{it}'\naction = 'allow'\nfrom = ['{it}']\n"))
        .collect();
    let compiled = parsed(&format!(
        "[gateway]\ninterfaces = ['lan0']\n\
         [network.world]\nprefixes = ['0.0.0.0/0', '::/0']\n\
         [network.ten]\nprefixes = ['10.0.0.0/8', '10.1.0.0/16']\n\
         [network.lab]\nprefixes = ['10.1.2.3/32', '10.1.128.0/17', '255.255.255.255/32', \
         'ffff::/16']\n{rules}"
    ))
    .compile();
    for (address, rule) in [
        ("0.0.0.0", 3),
        ("9.255.255.255", 3),
        ("10.0.0.0", 2),
        ("10.1.2.2", 2),
        ("10.1.2.3", 1),
        ("10.1.2.4", 2),
        ("10.1.127.255", 2),
        ("10.1.128.0", 1),
        ("10.1.255.255", 1),
        ("10.2.0.0", 2),
        ("11.0.0.0", 3),
        ("255.255.255.254", 3),
        ("255.255.255.255", 1),
        ("::", 3),
        ("fffe:ffff::", 3),
        ("ffff::", 1),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1),
    ] {
        assert_eq!(judged(&compiled, &packet(address, address, 17, 9)).rule, rule, "{address}");
    }
}

#[test]
fn what_lies_in_an_asymmetric_prefix_is_asymmetric() {
    let compiled = parsed(
        "[gateway]\ninterfaces = ['lan0']\n\
         [network.ten]\nprefixes = ['10.0.0.0/8', '10.1.2.0/24']\n\
         [network.branch]\nprefixes = ['192.168.0.0/16', 'fd00:2::/64']\n\
         [[asymmetric]]\nprefixes = ['10.1.0.0/16']\n\
         [[asymmetric]]\nnetworks = ['branch']\nprefixes = ['192.168.7.0/24', '10.1.0.0/16']\n",
    )
    .compile();
    for (address, expected) in [
        ("10.0.255.255", false),
        ("10.1.0.0", true),
        ("10.1.2.0", true),
        ("10.2.0.0", false),
        ("192.168.0.0", true),
        ("192.168.7.255", true),
        ("192.169.0.0", false),
        ("fd00:2::1", true),
        ("fd00:2:0:1::1", false),
    ] {
        assert_eq!(is_asymmetric(&compiled, address), expected, "{address}");
    }
    assert_eq!(compiled.image[..].head().map(|head| head.has_asymmetric), Some(1));
}

#[test]
fn an_asymmetric_network_without_prefixes_makes_nothing_asymmetric() {
    let text = "[gateway]\ninterfaces = ['lan0']\n[network.none]\nprefixes = []\n\
                [[asymmetric]]\nnetworks = ['none']\n";
    let compiled = parsed(text).compile();
    assert_eq!(compiled.image[..].head().map(|head| head.has_asymmetric), Some(0));
    assert!(!is_asymmetric(&compiled, "0.0.0.0"));
}

#[test]
fn the_largest_policy_fits() {
    let mut text = "[gateway]\ninterfaces = ['lan0']\n".to_owned();
    for n in 0..NETWORKS_MAX {
        let (high, low) = (n / 256, n % 256);
        let four = |part| format!("'10.{high}.{low}.{}/28'", 64 * part);
        let list: Vec<String> = (0..4).map(four).collect();
        text += &format!("[network.n{n}]\nprefixes = [{}, 'fd00:{n:x}::/32']\n", list.join(","));
    }
    for n in 1..PROTOCOLS_MAX {
        text += &format!("[protocol.p{n}]\ntransport = 'udp'\nports = [{n}, {}]\n", n + 10_000);
    }
    for n in 0..RULES_MAX {
        let (network, protocol) = (n * 7 % NETWORKS_MAX, n % (PROTOCOLS_MAX - 1) + 1);
        text += &format!(
            "[[rule]]\nname = 'r{n}'\naction = 'allow'\nto = ['n{network}']\n\
             protocols = ['p{protocol}']\n"
        );
    }
    let compiled = parsed(&text).compile();
    for n in (0..RULES_MAX).step_by(61) {
        let (network, protocol) = (n * 7 % NETWORKS_MAX, n % (PROTOCOLS_MAX - 1) + 1);
        let to = format!("10.{}.{}.{}", network / 256, network % 256, n % 4 * 64 + 15);
        let packet = packet("192.0.2.1", &to, 17, protocol as u16 + 10_000);
        let judged = judged(&compiled, &packet);
        assert_eq!((usize::from(judged.rule), usize::from(judged.protocol)), (n + 1, protocol));
    }
    let bytes = size_of_val(&compiled.image[..]);
    assert!(bytes < 16 << 20, "the image of the largest policy takes {bytes} bytes");
}
