//! What a host needs to stay on its network, under a policy that denies everything else: each of them switched on and
//! off.

use std::net::SocketAddr;

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Expected, Rig, drops, passes},
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];
const INGRESS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const SECOND: u64 = 1_000_000_000;

/// A policy that denies by default, with what it says about what is essential, and with more behind it.
fn denying(essential: &str, more: &str) -> String {
    format!("[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"deny\"\n{essential}\n{more}")
}

/// All but one.
fn all_but(left_out: &str) -> String {
    let all = ["arp", "neighbour-discovery", "dhcp-client", "dhcp-server"];
    let rest: Vec<&str> = all.into_iter().filter(|name| *name != left_out).collect();
    denying(&format!("essential = {rest:?}"), "")
}

fn denied() -> Expected {
    drops(Reason::PolicyRulesDenied)
}

fn udp(from: &str, to: &str) -> Packet {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Packet::udp(address(from), address(to)).payload(b"DHCP")
}

fn solicitation() -> Packet {
    let (from, to) = ("fe80::1", "ff02::1:ff00:2");
    let [from, to] = [from, to].map(|text| text.parse().expect("an address"));
    Packet::icmp(from, to, 135, 0, 0).payload([0; 16]).ttl(255)
}

#[test]
fn arp_is_dropped_where_it_is_left_out() {
    for hook in HOOKS {
        let arp = Packet::arp_request([10, 1, 0, 2].into(), [10, 1, 0, 1].into());
        for policy in [denying("", ""), denying("essential = ['arp']", "")] {
            let mut rig = Rig::new(&policy, hook);
            rig.expect("ARP", &arp, passes(State::None));
            assert_eq!(rig.events(), []);
        }
        for policy in [all_but("arp"), denying("essential = []", "")] {
            let mut rig = Rig::new(&policy, hook);
            rig.expect("ARP", &arp, drops(Reason::ArpDenied));
            rig.expect("ARP in a VLAN", &arp.clone().vlan(7), drops(Reason::ArpDenied));
            let events = rig.events();
            assert_eq!(events.len(), 2, "{events:?}");
            assert_eq!(events[0].reason.as_deref(), Some("FWX_E_ARP_DENIED"));
            assert_eq!(events[0].interface.as_deref(), Some("lan0"));
            let mut frame = arp.build();
            frame[12..14].copy_from_slice(&0x88cc_u16.to_be_bytes());
            rig.expect_frame("LLDP passes all the same", &frame, passes(State::None));
        }
    }
}

#[test]
fn neighbours_are_up_to_the_rules_where_they_are_left_out() {
    let rule = "[protocol.nd]\ntransport = 'icmpv6'\ntypes = ['neighbor-solicitation']\n\
                [[rule]]\nname = 'nd'\naction = 'allow'\nprotocols = ['nd']\n";
    for hook in HOOKS {
        for (policy, expected) in [
            (denying("", ""), passes(State::None)),
            (denying("essential = ['neighbour-discovery']", ""), passes(State::None)),
            (all_but("neighbour-discovery"), denied()),
            (denying("essential = []", rule), passes(State::Unreplied)),
        ] {
            let mut rig = Rig::new(&policy, hook);
            rig.expect("a solicitation", &solicitation(), expected);
        }
    }
}

#[test]
fn a_dhcp_client_asks_by_its_own_interfaces() {
    let (v4, v6) =
        (udp("0.0.0.0:68", "255.255.255.255:67"), udp("[fe80::1]:546", "[ff02::1:2]:547"));
    let renewal = udp("10.1.0.2:68", "10.1.0.1:67");
    for policy in [denying("", ""), denying("essential = ['dhcp-client']", "")] {
        let mut rig = Rig::new(&policy, Hook::Egress);
        rig.expect("DISCOVER", &v4, passes(State::Unreplied));
        rig.expect("again", &v4, passes(State::Unreplied));
        rig.expect("a renewal", &renewal, passes(State::Unreplied));
        rig.expect("its answer", &udp("10.1.0.1:67", "10.1.0.2:68"), passes(State::Assured));
        rig.expect("SOLICIT", &v6, passes(State::None));
        rig.expect("from another port", &udp("0.0.0.0:69", "255.255.255.255:67"), denied());
    }
    let mut rig = Rig::new(&all_but("dhcp-client"), Hook::Egress);
    for packet in [&v4, &v6, &renewal] {
        rig.expect("left out", packet, denied());
    }
    for hook in INGRESS {
        // Who asks there is another host.
        let mut rig = Rig::new(&denying("", ""), hook);
        for packet in [&v4, &v6, &renewal] {
            rig.expect("another's question", packet, denied());
        }
    }
}

#[test]
fn a_dhcp_client_is_answered() {
    let all = udp("10.1.0.1:67", "255.255.255.255:68");
    let offered = udp("10.1.0.1:67", "10.1.0.2:68");
    let v6 = udp("[fe80::2]:547", "[fe80::1]:546");
    for hook in INGRESS {
        let mut rig = Rig::new(&denying("", ""), hook);
        rig.expect("to all", &all, passes(State::None));
        rig.expect("to an address, and nobody asked", &offered, denied());
        rig.expect("IPv6", &v6, passes(State::None));
        rig.expect("from elsewhere", &udp("[fd00::2]:547", "[fe80::1]:546"), denied());
        let mut rig = Rig::new(&all_but("dhcp-client"), hook);
        for packet in [&all, &offered, &v6] {
            rig.expect("left out", packet, denied());
        }
    }
}

#[test]
fn an_offer_to_an_address_passes_while_the_question_is_known() {
    // A rule lets the question in, as if the gateway had asked it: the flow is the same.
    let rule = "[protocol.dhcp]\ntransport = 'udp'\nports = [67]\n\
                [[rule]]\nname = 'dhcp'\naction = 'allow'\nprotocols = ['dhcp']\n";
    let question = udp("0.0.0.0:68", "255.255.255.255:67");
    let offered = udp("10.1.0.1:67", "10.1.0.2:68");
    for hook in INGRESS {
        let mut rig = Rig::new(&denying("", rule), hook);
        rig.expect("before", &offered, denied());
        rig.expect("the question", &question, passes(State::Unreplied));
        rig.expect("an offer", &offered, passes(State::None));
        rig.wait(29 * SECOND);
        rig.expect("a late offer", &offered, passes(State::None));
        rig.wait(2 * SECOND);
        rig.expect("too late", &offered, denied());
        rig.expect("another port", &udp("10.1.0.1:67", "10.1.0.2:69"), denied());
        let mut rig = Rig::new(&denying("essential = []", rule), hook);
        rig.expect("the question", &question, passes(State::Unreplied));
        rig.expect("left out", &offered, denied());
    }
}

#[test]
fn a_dhcp_server_is_asked_and_answers_where_it_is_listed() {
    let asked = [
        udp("0.0.0.0:68", "255.255.255.255:67"),
        udp("[fe80::2]:546", "[ff02::1:2]:547"),
        udp("[fe80::2]:546", "[fe80::1]:547"),
    ];
    let answers = [
        udp("10.1.0.1:67", "255.255.255.255:68"),
        udp("10.1.0.1:67", "10.1.0.2:68"),
        udp("[fe80::1]:547", "[fe80::2]:546"),
    ];
    let listed = denying("essential = ['dhcp-server']", "");
    let unicast = udp("10.1.0.2:68", "10.1.0.1:67");
    for (hook, packets) in [(Hook::Xdp, &asked), (Hook::Tc, &asked), (Hook::Egress, &answers)] {
        let mut rig = Rig::new(&listed, hook);
        for packet in packets {
            rig.expect("listed", packet, passes(State::None));
        }
        rig.expect("to an address, which may be another's", &unicast, denied());
        let mut rig = Rig::new(&denying("essential = ['arp', 'neighbour-discovery']", ""), hook);
        for packet in packets {
            rig.expect("not listed", packet, denied());
        }
    }
}
