//! What the kernel's tables hold of a policy.

use firewall_common::policy::{ASYMMETRIC, Candidate, NETWORKS_MAX, PROTOCOLS_MAX, PolicyHead};
use firewall_common::shortcut::{FOR_TCP, FOR_UDP};

use super::*;

#[test]
fn the_example_compiles() {
    let compiled = parsed(EXAMPLE).compile();
    assert_eq!((compiled.head.rule_count, compiled.head.default_action), (2, Action::Deny as u32));
    assert_eq!(compiled.protocol_by_port.len(), 2 + 11 + 1);
    assert!(compiled.protocol_by_port.contains(&PortEntry {
        transport: 17,
        port: 53,
        protocol: 2
    }));
    assert!(compiled.protocol_by_port.contains(&PortEntry {
        transport: 6,
        port: 8010,
        protocol: 1
    }));

    let (number, rtsp) = compiled.bindings[0];
    assert_eq!((number, rtsp.filter), (1, FilterId::Rtsp as u8));
    assert_eq!((rtsp.mode, rtsp.profile), (Mode::Enforce as u8, Profile::Strict as u8));
    assert_eq!(compiled.bindings[1], (2, Default::default()), "no filter is bound to dns");

    let cameras = &compiled.rules[0];
    assert!(cameras.matches(&Candidate { from: 0b01, to: 0b10, protocol: 1 }));
    assert!(!cameras.matches(&Candidate { from: 0b01, to: 0b10, protocol: 2 }));
    assert!(!cameras.matches(&Candidate { from: 0b10, to: 0b01, protocol: 1 }));
    assert!(compiled.rules[1].matches(&Candidate { from: 0, to: 0, protocol: 0 }));
    assert_eq!(compiled.rules[1].action, Action::Reject as u32);
    assert_eq!((cameras.half_open_max, cameras.new_per_second), (50, 20));

    let names = &compiled.names;
    assert_eq!((names.rule(1), names.rule(2)), (Some("the rest"), None));
    assert_eq!((names.protocol(0), names.protocol(2)), (None, Some("dns")));
    assert_eq!((names.network(1), names.network(2)), (Some("branch"), None));
}

#[test]
fn what_the_example_says_of_tracking_compiles() {
    let compiled = parsed(EXAMPLE).compile();
    let head = PolicyHead {
        rule_count: 2,
        default_action: Action::Deny as u32,
        adopt_until: 0,
        relaxed_until: 0,
        source_half_open_max: 100,
        source_new_per_second: 0,
        syn_attack_per_second: 0,
        syn_authentication: SynAuthentication::Auto as u8,
        new_flow: NewFlow::Monitor as u8,
        has_asymmetric: 1,
        shortcut: FOR_UDP | FOR_TCP,
    };
    assert_eq!(compiled.head, head);
    assert_eq!(compiled.tables, TableSizes { completed: 65_536, half_open: 262_144 });
    assert_eq!(compiled.timeouts.get(Timeout::Established), 43_200_000_000_000);
}

#[test]
fn a_prefix_holds_the_networks_of_those_around_it() {
    let compiled = parsed(
        "[gateway]\ninterfaces = ['lan0']\n\
         [network.world]\nprefixes = ['0.0.0.0/0', '::/0']\n\
         [network.ten]\nprefixes = ['10.0.0.0/8', '10.1.0.0/16']\n\
         [network.lab]\nprefixes = ['10.1.0.0/16', '10.1.2.3/32', '192.168.0.0/16']\n",
    )
    .compile();
    let (world, ten, lab) = (0b001, 0b010, 0b100);
    let v4 = |prefix_len, address, networks| Prefix { prefix_len, address, networks };
    assert_eq!(
        compiled.prefixes_v4,
        [
            v4(0, [0, 0, 0, 0], world),
            v4(8, [10, 0, 0, 0], world | ten),
            v4(16, [10, 1, 0, 0], world | ten | lab),
            v4(32, [10, 1, 2, 3], world | ten | lab),
            v4(16, [192, 168, 0, 0], world | lab),
        ]
    );
    assert_eq!(compiled.prefixes_v6, [Prefix { prefix_len: 0, address: [0; 16], networks: world }]);
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
    let (ten, branch) = (0b01, 0b10);
    let v4 = |prefix_len, address, networks| Prefix { prefix_len, address, networks };
    assert_eq!(
        compiled.prefixes_v4,
        [
            v4(8, [10, 0, 0, 0], ten),
            v4(16, [10, 1, 0, 0], ten | ASYMMETRIC),
            v4(24, [10, 1, 2, 0], ten | ASYMMETRIC),
            v4(16, [192, 168, 0, 0], branch | ASYMMETRIC),
            v4(24, [192, 168, 7, 0], branch | ASYMMETRIC),
        ]
    );
    assert_eq!(compiled.prefixes_v6[0].networks, branch | ASYMMETRIC);
    assert_eq!(compiled.head.has_asymmetric, 1);
    assert_eq!((compiled.names.networks().len(), compiled.names.network(63)), (2, None));
}

#[test]
fn an_asymmetric_network_without_prefixes_makes_nothing_asymmetric() {
    let text = "[gateway]\ninterfaces = ['lan0']\n[network.none]\nprefixes = []\n\
                [[asymmetric]]\nnetworks = ['none']\n";
    let compiled = parsed(text).compile();
    assert_eq!((compiled.prefixes_v4.len(), compiled.head.has_asymmetric), (0, 0));
}

#[test]
fn the_largest_policy_fits() {
    let mut text = "[gateway]\ninterfaces = ['lan0']\n\
                    [[asymmetric]]\nprefixes = ['10.62.0.0/17']\n"
        .to_owned();
    for n in 0..NETWORKS_MAX {
        text += &format!("[network.n{n}]\nprefixes = ['10.{n}.0.0/16']\n");
    }
    for n in 1..PROTOCOLS_MAX {
        text += &format!("[protocol.p{n}]\ntransport = 'udp'\nports = [{n}]\n");
    }
    for n in 0..256 {
        let (network, protocol) = (n % NETWORKS_MAX, n % 255 + 1);
        text += &format!(
            "[[rule]]\nname = 'r{n}'\naction = 'allow'\nto = ['n{network}']\n\
             protocols = ['p{protocol}']\n"
        );
    }
    let compiled = parsed(&text).compile();
    let flow = Candidate { from: 0, to: 1 << 2, protocol: 255 };
    let matching: Vec<usize> =
        (0..256).filter(|&rule| compiled.rules[rule].matches(&flow)).collect();
    assert_eq!(matching, [254], "254 is 2 more than a multiple of 63");
    assert_eq!(compiled.names.protocol(255), Some("p255"));
    assert_eq!(compiled.prefixes_v4[62].networks, 1 << 62);
    assert_eq!(compiled.prefixes_v4[63].networks, 1 << 62 | ASYMMETRIC);
}
