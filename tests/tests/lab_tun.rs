//! Packets without an Ethernet header that are not what they are called.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::ensure;
use firewall_common::reason::Reason;
use lab::{
    Fwx, Lab, Mode, Packet,
    peers::echo,
    policy,
    tun::{Before, Tun},
    wait,
};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const MPLS: u16 = 0x8847;
const ETHERNET_HEADER_LEN: usize = 14;

/// A datagram from behind the device to `to`, from its IP header on.
fn datagram(to: SocketAddr) -> Vec<u8> {
    let from = if to.is_ipv4() { "10.3.0.2:6000" } else { "[fd00:3::2]:6000" };
    let frame = Packet::udp(from.parse().unwrap(), to).payload([7; 40]).build();
    frame[ETHERNET_HEADER_LEN..].to_vec()
}

#[test]
fn what_contradicts_its_protocol_is_refused_and_what_is_not_ip_passes() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    let tun = Tun::create(gateway, "tun0", Before::Protocol).unwrap();
    gateway
        .ip("address add 10.3.0.1/24 dev tun0\n\
             address add fd00:3::1/64 dev tun0 nodad\n\
             link set tun0 up\n")
        .unwrap();
    let mut fwx = Fwx::new(gateway, lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&["lan0", "tun0"]), Mode::Auto).unwrap();
    let bring_in = |ether_type, packet: &[u8]| tun.bring_in(ether_type, packet).unwrap();
    let [to_v4, to_v6] = [lab.client.socket_v4(6001), lab.client.socket_v6(6001)];
    let [v4, v6] = [to_v4, to_v6].map(datagram);

    for (to, ether_type, packet) in [(to_v4, IPV4, &v4), (to_v6, IPV6, &v6)] {
        let socket = echo::socket(&lab.client, to).unwrap();
        bring_in(ether_type, packet);
        assert_eq!(echo::hear(&socket).unwrap().port(), 6000);
    }
    assert!(fwx.status().unwrap().drops.is_empty());

    let tagged = [&[0, 5, 0x08, 0][..], &v4].concat();
    for (shows, ether_type, packet, reason) in [
        ("IPv6 called IPv4", IPV4, &v6[..], Reason::IpVersion),
        ("IPv4 called IPv6", IPV6, &[&v4[..], &v4].concat(), Reason::IpVersion),
        ("of no version", IPV4, &[0x15; 40], Reason::IpVersion),
        ("in a VLAN", VLAN, &tagged, Reason::VlanDepth),
        ("cut", IPV4, &v4[..v4.len() - 1], Reason::BadLength),
        ("of a few bytes", IPV6, &v6[..7], Reason::BadLength),
        ("with a source route", IPV4, &source_routed(), Reason::IpOptions),
    ] {
        let before = fwx.status().unwrap().drops;
        bring_in(ether_type, packet);
        let name = reason.name();
        wait::until(&format!("{shows}: it is counted as {name}"), || {
            let drops = fwx.status()?.drops;
            let count = |drops: &BTreeMap<String, u64>| drops.get(name).copied().unwrap_or(0);
            ensure!(count(&drops) == count(&before) + 1, "{drops:?}, before {before:?}");
            Ok(())
        })
        .unwrap();
    }
    let drop = fwx.wait_for_event("a drop", |event| event.is_drop(Reason::IpVersion.name()));
    let drop = drop.unwrap();
    assert_eq!(drop.interface.as_deref(), Some("tun0"), "{}", drop.line);

    let before = fwx.status().unwrap();
    bring_in(MPLS, &v4);
    wait::until("what is not IP is seen", || {
        let seen = fwx.status()?.packets.ingress;
        ensure!(seen > before.packets.ingress, "{seen} packets");
        Ok(())
    })
    .unwrap();
    assert_eq!(fwx.status().unwrap().drops, before.drops);
}

/// A datagram whose sender chooses its way.
fn source_routed() -> Vec<u8> {
    let from = "10.3.0.2:6000".parse().unwrap();
    let to = "10.1.0.2:6001".parse().unwrap();
    let frame = Packet::udp(from, to).ip_options(&[131, 7, 4, 10, 2, 0, 2, 0]).build();
    frame[ETHERNET_HEADER_LEN..].to_vec()
}
