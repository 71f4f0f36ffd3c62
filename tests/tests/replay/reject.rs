//! What a reject looks like to one who asked by another protocol than TCP: an ICMP error that says that it is
//! prohibited, held against what another implementation writes.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel,
    Ipv6Header, icmpv4::DestUnreachableHeader, icmpv6::DestUnreachableCode,
};
use firewall_common::{
    flow::State,
    layout::{Counter, OwnAddresses},
    reason::Reason,
};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Expected, FAMILIES, Family, Rig, drops, passes, rejects},
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];
const ETHERNET: usize = 14;
const UDP_CHECKSUM: usize = 6;
const SECOND: u64 = 1_000_000_000;

fn policy(per_second: u32) -> String {
    format!(
        "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"deny\"\n\
         [limits]\nreject_per_second = {per_second}\n\
         [[rule]]\nname = \"tell\"\naction = \"reject\"\n"
    )
}

fn told() -> Expected {
    rejects(Reason::PolicyRulesDenied)
}

fn silent() -> Expected {
    drops(Reason::PolicyRulesDenied)
}

/// What replay answers by; and what leaves this machine is answered by where it goes to.
fn answers_by(hook: Hook, family: Family) -> IpAddr {
    match (hook, family) {
        (Hook::Egress, _) => family.camera(),
        (_, Family::V4) => [192, 0, 2, 1].into(),
        (_, Family::V6) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    }
}

/// The answer from `source` to `frame`, whose IP packet begins at `ip` and is `ip_len` bytes long. `quote` is what is
/// quoted of it.
fn answer(source: IpAddr, frame: &[u8], ip: usize, quote: &[u8]) -> Vec<u8> {
    let mut answer = [&frame[6..12], &frame[..6], &frame[12..ip]].concat();
    match source {
        IpAddr::V4(source) => {
            let to: [u8; 4] = frame[ip + 12..ip + 16].try_into().unwrap();
            let len = u16::try_from(quote.len() + 8).unwrap();
            let mut header = Ipv4Header::new(len, 64, IpNumber::ICMP, source.octets(), to).unwrap();
            header.dscp = 48.try_into().unwrap();
            header.dont_fragment = true;
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut answer).unwrap();
            let prohibited = DestUnreachableHeader::FilterProhibited;
            let kind = Icmpv4Type::DestinationUnreachable(prohibited);
            Icmpv4Header::with_checksum(kind, quote).write(&mut answer).unwrap();
        }
        IpAddr::V6(source) => {
            let to: [u8; 16] = frame[ip + 8..ip + 24].try_into().unwrap();
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: u16::try_from(quote.len() + 8).unwrap(),
                next_header: IpNumber::IPV6_ICMP,
                hop_limit: 64,
                source: source.octets(),
                destination: to,
            };
            header.write(&mut answer).unwrap();
            let kind = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Prohibited);
            let header = Icmpv6Header::with_checksum(kind, source.octets(), to, quote).unwrap();
            header.write(&mut answer).unwrap();
        }
    }
    answer.extend(quote);
    answer
}

/// The longest quotation.
fn quoted_at_most(family: Family) -> usize {
    match family {
        Family::V4 => 576 - 20 - 8,
        Family::V6 => 1280 - 40 - 8,
    }
}

fn count(rig: &Rig, counter: Counter) -> u64 {
    rig.tables().counter(counter).expect("the counters")
}

#[test]
fn what_is_not_tcp_becomes_an_icmp_error_to_its_sender() {
    for hook in HOOKS {
        let mut rig = Rig::new(&policy(1_000_000), hook);
        for family in FAMILIES {
            let (client, camera) = (family.client(), family.camera());
            let most = quoted_at_most(family);
            let headers = if family == Family::V4 { 28 } else { 48 };
            let udp = || family.udp(40_000, 53);
            let mut table = vec![
                ("UDP", udp().payload(b"hello"), 14),
                ("without payload", udp(), 14),
                ("of an odd length", udp().payload([7; 101]), 14),
                ("quoted as a whole", udp().payload(vec![7; most - headers]), 14),
                ("a byte too long", udp().payload(vec![7; most - headers + 1]), 14),
                ("a long one", udp().payload([7; 1_400]), 14),
                ("an echo request", Packet::echo_request(client, camera, 7, 1), 14),
                ("another protocol", Packet::other(client, camera, 47).payload([9; 30]), 14),
                ("in a VLAN", udp().vlan(5).payload(b"hello"), 18),
                ("in QinQ", udp().qinq(5, 6).payload(b"hello"), 22),
            ];
            match family {
                Family::V4 => {
                    table.push(("options", udp().ip_options(&[148, 4, 0, 0]).payload(b"hi"), 14));
                }
                Family::V6 => {
                    let extended = udp().hop_by_hop(&[5, 2, 0, 0]).destination_options(&[]);
                    table.push(("extension headers", extended.payload(b"hi"), 14));
                    let long = udp().destination_options(&[0; 1_300]);
                    table.push(("headers longer than a quotation", long.payload(b"hi"), 14));
                }
            }
            for (shows, packet, ip) in table {
                let frame = packet.build();
                let quote = &frame[ip..frame.len().min(ip + most)];
                let expected = answer(answers_by(hook, family), &frame, ip, quote);
                let outcome = rig.expect_frame(shows, &frame, told());
                assert_eq!(outcome.frame, expected, "{hook:?} {family:?}: {shows}");
            }

            let frame = udp().payload(b"hello").build();
            let padded = [&frame[..], &[0xff; 40]].concat();
            let outcome = rig.expect_frame("Ethernet's padding is no packet", &padded, told());
            let expected = answer(answers_by(hook, family), &frame, ETHERNET, &frame[ETHERNET..]);
            assert_eq!(outcome.frame, expected, "{hook:?} {family:?}: padding");
        }
    }
}

/// What a local stack leaves to the device to finish is finished within the quotation, if the kernel still knows.
#[test]
fn a_checksum_that_is_yet_to_be_finished_leaves_the_answer_right_once_it_is() {
    for hook in HOOKS {
        let mut rig = Rig::new(&policy(1_000_000), hook);
        for family in FAMILIES {
            let mut frame = family.udp(40_000, 53).payload([7; 601]).build();
            let (udp, addresses) = match family {
                Family::V4 => (ETHERNET + 20, ETHERNET + 12..ETHERNET + 20),
                Family::V6 => (ETHERNET + 40, ETHERNET + 8..ETHERNET + 40),
            };
            let udp_len = u32::try_from(frame.len() - udp).unwrap();
            let pseudo = folded(17 + udp_len + words(&frame[addresses]));
            frame[udp + UDP_CHECKSUM..][..2].copy_from_slice(&pseudo.to_be_bytes());
            let end = frame.len().min(ETHERNET + quoted_at_most(family));
            let source = answers_by(hook, family);
            let mut expected = answer(source, &frame, ETHERNET, &frame[ETHERNET..end]);
            let outcome = rig.expect_frame("with a partial checksum", &frame, told());
            if hook != Hook::Xdp {
                // The device finishes the quoted checksum, and the answer's own is right then.
                let finished = !folded(words(&frame[udp..end]));
                let mut quote = frame[ETHERNET..end].to_vec();
                quote[udp - ETHERNET + UDP_CHECKSUM..][..2]
                    .copy_from_slice(&finished.to_be_bytes());
                let right = answer(source, &frame, ETHERNET, &quote);
                let icmp = udp + 2..udp + 4;
                expected[icmp.clone()].copy_from_slice(&right[icmp]);
            }
            assert_eq!(outcome.frame, expected, "{hook:?} {family:?}");
        }
    }
}

/// The sum of the words in `bytes`, the last one padded.
fn words(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

#[test]
fn of_a_datagram_in_fragments_the_first_is_answered() {
    for hook in HOOKS {
        let mut rig = Rig::new(&policy(1_000_000), hook);
        for family in FAMILIES {
            let datagram = family.udp(40_000, 53).payload([7; 100]).identification(9);
            let first = datagram.build_fragment(0..64);
            let outcome = rig.expect_frame("the first", &first, told());
            let source = answers_by(hook, family);
            let expected = answer(source, &first, ETHERNET, &first[ETHERNET..]);
            assert_eq!(outcome.frame, expected, "{hook:?} {family:?}");
            let later = datagram.build_fragment(64..datagram.datagram_len());
            rig.expect_frame("a later one", &later, drops(Reason::FragmentDropped));
        }
    }
}

#[test]
fn what_must_not_be_answered_is_refused_in_silence() {
    for hook in HOOKS {
        let mut rig = Rig::new(&policy(1_000_000), hook);
        for family in FAMILIES {
            let at = |address: &str, port: u16| (address.parse::<IpAddr>().unwrap(), port).into();
            let (group, host, nobody) = match family {
                Family::V4 => ("224.0.0.251", "10.1.0.2", "127.0.0.1"),
                Family::V6 => ("ff02::fb", "fd00:1::2", "::1"),
            };
            let client = family.client_at(5353);
            let mut broadcast = family.udp(1, 2).build();
            broadcast[..6].fill(0xff);
            let redirect = if family == Family::V4 { 5 } else { 137 };
            let redirect = Packet::icmp(family.client(), family.camera(), redirect, 0, 0);
            let table = [
                ("to a group", Packet::udp(client, at(group, 5353)).build()),
                ("from a group", Packet::udp(at(group, 5353), client).build()),
                ("from nobody", Packet::udp(at(nobody, 1), family.camera_at(2)).build()),
                ("a broadcast of the link", broadcast),
                ("a redirect", redirect.build()),
            ];
            let before = count(&rig, Counter::RejectsUnanswerable);
            for (shows, frame) in &table {
                rig.expect_frame(shows, frame, silent());
            }
            let after = count(&rig, Counter::RejectsUnanswerable);
            assert_eq!(after - before, table.len() as u64, "{hook:?} {family:?}");
            rig.expect("a host", &Packet::udp(at(host, 1), family.camera_at(2)), told());
        }
        assert_eq!(count(&rig, Counter::RejectsAnswered), 2, "{hook:?}");
    }
}

#[test]
fn there_are_so_many_answers_a_second_and_the_others_are_counted() {
    for hook in HOOKS {
        let mut rig = Rig::new(&policy(3), hook);
        rig.wait(SECOND);
        for family in [Family::V4, Family::V6, Family::V4] {
            rig.expect("within the limit", &family.udp(1, 53), told());
        }
        for _ in 0..50 {
            rig.expect("beyond it", &Family::V6.udp(1, 53), silent());
        }
        assert_eq!(count(&rig, Counter::RejectsLimited), 50, "{hook:?}");
        rig.wait(SECOND);
        rig.expect("a second later", &Family::V4.udp(1, 53), told());
        assert_eq!(count(&rig, Counter::RejectsAnswered), 4, "{hook:?}");
    }
}

#[test]
fn without_an_address_of_its_own_a_gateway_is_silent() {
    for hook in [Hook::Xdp, Hook::Tc] {
        let mut rig = Rig::new(&policy(100), hook);
        let lan0 = 1;
        let own = OwnAddresses { v4: 0, ..OwnAddresses::default() };
        rig.tables().set_own_addresses(lan0, own).expect("a write");
        for family in FAMILIES {
            rig.expect("nothing to answer from", &family.udp(1, 53), silent());
        }
        assert_eq!(count(&rig, Counter::RejectsWithoutAddress), 2, "{hook:?}");
    }
}

/// Its answer comes in by an ingress hook, and is let in there.
#[test]
fn this_machines_own_packet_is_answered_and_may_be_sent_again() {
    let mut rig = Rig::new(&policy(100), Hook::Egress);
    for family in FAMILIES {
        let udp = family.udp(40_000, 53).payload(b"hello");
        for _ in 0..3 {
            rig.expect("refused", &udp, told());
            let (kind, code) = if family == Family::V4 { (3, 13) } else { (1, 1) };
            let error = Packet::icmp(family.camera(), family.client(), kind, code, 0);
            let error = error.quoting(&udp, usize::MAX);
            rig.expect("the answer", &error, passes(State::Killed));
        }
        let back = family.udp_back(53, 40_000);
        rig.expect("nothing was let in by it", &back, told());
    }
}
