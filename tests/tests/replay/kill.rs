//! The story in one process: the filter kills a dialect that it does not like, both ends get a RST, and
//! what comes after points back to the kill. Monitored, noted or unbound, the same conversation lives.

use firewall_common::{
    flow::{State, Timeout, Timeouts},
    policy::{Mode, Profile},
    reason::Reason,
};
use firewall_user::{event::Event, replay::Hook};
use lab::{
    Packet,
    replaying::{
        Conversation, DESCRIBE, Expected, FAMILIES, Family, OPTIONS, REPLY, REPLY_WITHOUT_CSEQ,
        RTSP_PORT, RTSP_PROTOCOL, Rig, passes, resets, rtsp_policy, with_partial_checksum,
    },
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];
const NOT_SYN: &str = Reason::TcpNotSyn.name();

#[test]
fn a_syn_in_a_connection_moves_no_filter() {
    const WITHOUT_CSEQ: &[u8] = b"DESCRIBE rtsp://camera/ RTSP/1.0\r\n\r\n";
    const GOOD: &[u8] = b"OPTIONS rtsp://camera/ RTSP/1.0\r\nCSeq: 1\r\n\r\n";
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        for family in FAMILIES {
            for (port, ahead, payload) in
                [(40_010, 0x4000_0000, &b""[..]), (40_011, 0, GOOD), (40_012, 0x4000_0000, GOOD)]
            {
                let mut talk = Conversation::established(&mut rig, family, port, RTSP_PORT);
                // The server answers with a challenge ACK and takes nothing of it (RFC 5961 §4).
                let seq = talk.client_next().wrapping_add(ahead);
                let syn = Packet::tcp(talk.client(), talk.server()).flags("S").seq(seq);
                let syn = syn.payload(payload);
                rig.expect("a SYN on a connection that stands", &syn, passes(State::Established));
                let bad = talk.client_sends("PA", WITHOUT_CSEQ);
                rig.expect("what comes is read all the same", &bad, killed());
            }
        }
    }
}

fn killed() -> Expected {
    resets(Reason::ConnectionKilled).in_state(State::Killed)
}

/// The answer to what a killed connection still sends.
fn told() -> Expected {
    resets(Reason::TcpNotSyn).in_state(State::Killed)
}

/// A conversation up to the reply that lacks its CSeq, and that reply.
fn up_to_the_offence(rig: &mut Rig, family: Family, port: u16) -> (Conversation, Packet) {
    let mut talk = Conversation::established(rig, family, port, RTSP_PORT);
    for (shows, packet) in [
        ("OPTIONS", talk.client_sends("PA", OPTIONS)),
        ("its reply", talk.server_sends("PA", REPLY)),
        ("DESCRIBE", talk.client_sends("PA", DESCRIBE)),
    ] {
        rig.expect(shows, &packet, passes(State::Established));
    }
    rig.events();
    let offence = talk.server_sends("PA", REPLY_WITHOUT_CSEQ);
    (talk, offence)
}

/// The RST that `to` gets, as if from `from`.
fn rst(from: std::net::SocketAddr, to: std::net::SocketAddr, seq: u32, ack: u32) -> Packet {
    Packet::tcp(from, to).flags("RA").seq(seq).ack(ack).window(0)
}

fn only(events: &[Event]) -> &Event {
    match events {
        [event] => event,
        _ => panic!("one event, not {events:#?}"),
    }
}

#[test]
fn the_strict_profile_kills_and_tells_both_ends() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        for family in FAMILIES {
            let (mut talk, offence) = up_to_the_offence(&mut rig, family, 40_000);
            let (client, server) = (talk.client(), talk.server());
            let seq = talk.server_next().wrapping_sub(REPLY_WITHOUT_CSEQ.len() as u32);
            let after = talk.server_next();

            // The offending segment becomes a RST to its receiver, at the byte that it expects.
            let outcome = rig.expect("the reply without CSeq", &offence, killed());
            let to_client = rst(server, client, seq, talk.client_next());
            assert_eq!(outcome.frame, to_client.build(), "{hook:?} {family:?}");
            let events = rig.events();
            let kill = only(&events);
            check_kill(kill, &talk);
            assert_eq!(kill.flow_id, Some(outcome.flow_id), "the event names the flow");

            // The sender, who knows of nothing, repeats it and gets a RST back.
            let outcome = rig.expect("the sender repeats it", &offence, told());
            let to_server = rst(client, server, talk.client_next(), after);
            let swapped = to_server.macs(DESTINATION_MAC, SOURCE_MAC);
            assert_eq!(outcome.frame, swapped.build(), "{hook:?} {family:?}");
            let events = rig.events();
            check_consequence(only(&events), kill);

            // Either end's other packets: an empty ACK, a FIN (which counts for one), more data.
            let ack = talk.client_sends("A", b"");
            let outcome = rig.expect("an ACK of the receiver's", &ack, told());
            let back = rst(server, client, after, talk.client_next());
            let back = back.macs(DESTINATION_MAC, SOURCE_MAC);
            assert_eq!(outcome.frame, back.build(), "{hook:?} {family:?}");
            let fin = talk.server_sends("FA", b"bye");
            let outcome = rig.expect("a FIN with data", &fin, told());
            let back = rst(client, server, talk.client_next(), after.wrapping_add(4));
            let back = back.macs(DESTINATION_MAC, SOURCE_MAC);
            assert_eq!(outcome.frame, back.build(), "{hook:?} {family:?}");

            // A RST is never answered, else two firewalls would answer each other for ever. It passes: it
            // may be the one that a kill sent, seen again at another hook.
            let reset = talk.client_sends("R", b"");
            rig.expect("a RST", &reset, passes(State::Killed));
            let events = rig.events();
            assert_eq!(events.len(), 2, "{events:#?}");
            events.iter().for_each(|event| check_consequence(event, kill));

            let again = rig.expect(
                "a SYN begins anew",
                &Conversation::new(family, 40_000, RTSP_PORT).syn(),
                passes(State::SynSent),
            );
            assert_ne!(Some(again.flow_id), kill.flow_id, "it is another flow");
        }
        assert_eq!(rig.count(Reason::ConnectionKilled), 2, "{hook:?}");
        assert_eq!(rig.count(Reason::TcpNotSyn), 6, "{hook:?}");
        let counters = rig.tables().filter_counters(RTSP_PROTOCOL).expect("the counters");
        // OPTIONS, its reply, DESCRIBE, the offence; of both families.
        assert_eq!((counters.segments, counters.findings, counters.kills), (8, 2, 2), "{hook:?}");
    }
}

const SOURCE_MAC: lab::Mac = lab::Mac([2, 0, 0, 0, 0, 1]);
const DESTINATION_MAC: lab::Mac = lab::Mac([2, 0, 0, 0, 0, 2]);

fn check_kill(kill: &Event, talk: &Conversation) {
    assert_eq!(kill.event, "connection_killed");
    assert_eq!(kill.reason.as_deref(), Some("FWX_E_CONNECTION_KILLED"));
    assert_eq!(kill.code.as_deref(), Some("0x80074e24"));
    assert_eq!(kill.interface.as_deref(), Some("lan0"));
    assert_eq!(kill.direction.as_deref(), Some("reply"));
    assert_eq!(kill.protocol.as_deref(), Some("rtsp"));
    assert_eq!(kill.transport.as_deref(), Some("tcp"));
    assert_eq!((kill.src_ip, kill.src_port), (Some(talk.server().ip()), Some(RTSP_PORT)));
    assert_eq!((kill.dst_ip, kill.dst_port), (Some(talk.client().ip()), Some(40_000)));
    assert_eq!(kill.caused_by, None);
    let filter = kill.filter.as_ref().expect("the kill names the filter");
    assert_eq!((filter.name.as_str(), filter.mode.as_str()), ("rtsp", "enforce"));
    assert_eq!(filter.profile, "strict");
    assert_eq!(filter.finding, "missing-cseq");
    // The message begins behind the reply before it.
    assert_eq!(filter.offset, REPLY.len() as u64);
    assert_eq!(filter.excerpt, "RTSP/1.0 200 OK");
    let tcp = kill.tcp.as_ref().expect("a TCP header");
    assert_eq!(tcp.flags, "PA", "the event shows the segment, not the RST that it became");
    assert_eq!(tcp.ack, talk.client_next());
}

fn check_consequence(event: &Event, kill: &Event) {
    assert_eq!(event.event, "packet_dropped");
    assert_eq!(event.reason.as_deref(), Some(NOT_SYN));
    assert_eq!(event.caused_by, Some(kill.event_id), "{event:#?}");
    assert_eq!(event.flow_id, kill.flow_id, "{event:#?}");
}

#[test]
fn resets_keep_a_checksum_partial_where_a_device_will_finish_it() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        for family in FAMILIES {
            let (talk, offence) = up_to_the_offence(&mut rig, family, 40_000);
            let seq = talk.server_next().wrapping_sub(REPLY_WITHOUT_CSEQ.len() as u32);
            let offence = with_partial_checksum(&offence.build());

            let outcome = rig.expect_frame("an unfinished segment", &offence, killed());
            let to_client = rst(talk.server(), talk.client(), seq, talk.client_next()).build();
            assert_eq!(outcome.frame, with_partial_checksum(&to_client), "{hook:?} {family:?}");

            let outcome = rig.expect_frame("its repetition", &offence, told());
            let to_server =
                rst(talk.client(), talk.server(), talk.client_next(), talk.server_next());
            let to_server = to_server.macs(DESTINATION_MAC, SOURCE_MAC).build();
            // XDP transmits the frame as it is: nobody would finish it.
            let expected = match hook {
                Hook::Xdp => to_server,
                Hook::Tc | Hook::Egress => with_partial_checksum(&to_server),
            };
            assert_eq!(outcome.frame, expected, "{hook:?} {family:?}");
        }
    }
}

#[test]
fn resets_keep_tags_options_and_extension_headers() {
    for hook in [Hook::Xdp, Hook::Tc] {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        type Dress = fn(Packet) -> Packet;
        let dresses: [(&str, Family, Dress); 5] = [
            ("a VLAN", Family::V4, |packet| packet.vlan(5)),
            ("QinQ", Family::V6, |packet| packet.qinq(5, 6)),
            ("IPv4 options", Family::V4, |packet| packet.ip_options(&[148, 4, 0, 0])),
            ("TCP options go", Family::V4, |packet| packet),
            ("extension headers", Family::V6, |packet| {
                packet.hop_by_hop(&[5, 2, 0, 0]).destination_options(&[1; 20])
            }),
        ];
        for (port, (shows, family, dress)) in (40_000..).zip(dresses) {
            let (talk, offence) = up_to_the_offence(&mut rig, family, port);
            let seq = talk.server_next().wrapping_sub(REPLY_WITHOUT_CSEQ.len() as u32);
            let offence = dress(offence.tcp_options(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]));

            let outcome = rig.expect(shows, &offence, killed());
            let to_client = rst(talk.server(), talk.client(), seq, talk.client_next());
            assert_eq!(outcome.frame, dress(to_client).build(), "{hook:?}: {shows}");

            let outcome = rig.expect(shows, &offence, told());
            let to_server =
                rst(talk.client(), talk.server(), talk.client_next(), talk.server_next())
                    .macs(DESTINATION_MAC, SOURCE_MAC);
            assert_eq!(outcome.frame, dress(to_server).build(), "{hook:?}: {shows}");
        }
    }
}

/// The receiver has the segment's front already: a RST at its first byte would be outside the window.
#[test]
fn the_rst_for_a_segment_that_was_read_in_part_is_at_its_first_new_byte() {
    const KNOWN: usize = 20;
    for hook in [Hook::Xdp, Hook::Tc] {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            let seq = talk.server_next();
            let front = talk.server_sends("PA", &REPLY_WITHOUT_CSEQ[..KNOWN]);
            rig.expect("the front alone", &front, passes(State::Established));
            let whole = Packet::tcp(talk.server(), talk.client())
                .flags("PA")
                .seq(seq)
                .ack(talk.client_next())
                .payload(REPLY_WITHOUT_CSEQ);
            let outcome = rig.expect("front and rest", &whole, killed());
            let at = seq.wrapping_add(KNOWN as u32);
            let expected = rst(talk.server(), talk.client(), at, talk.client_next());
            assert_eq!(outcome.frame, expected.build(), "{hook:?} {family:?}");
        }
    }
}

#[test]
fn the_tombstone_stays_for_its_time_and_no_longer() {
    let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), Hook::Xdp);
    for family in FAMILIES {
        let (mut talk, offence) = up_to_the_offence(&mut rig, family, 40_000);
        rig.expect("the kill", &offence, killed());
        let ack = talk.client_sends("A", b"");
        rig.wait(Timeouts::default().get(Timeout::Killed));
        rig.expect("at its timeout", &ack, told());
        // What is refused does not keep it alive.
        rig.wait(1);
        let forgotten = lab::replaying::drops(Reason::TcpNotSyn);
        rig.expect("a nanosecond later", &ack, forgotten);
        let event = rig.events().pop().expect("the drop is told");
        assert_eq!((event.caused_by, event.flow_id), (None, None));
    }
}

#[test]
fn noted_monitored_or_unbound_the_same_conversation_lives() {
    const FOUND: [&str; 2] = ["missing-cseq", "unknown-method"];
    for hook in [Hook::Xdp, Hook::Tc] {
        let mut rig = Rig::new(&rtsp_policy("off", "standard"), hook);
        for (port, mode, profile, expected) in [
            (40_000, Mode::Enforce, Profile::Standard, &FOUND[..]),
            (40_001, Mode::Monitor, Profile::Strict, &FOUND),
            (40_002, Mode::Monitor, Profile::Standard, &FOUND),
            (40_003, Mode::Off, Profile::Strict, &[]),
        ] {
            rig.bind(mode, profile);
            for family in FAMILIES {
                let shows = format!("{mode:?} {profile:?} {hook:?} {family:?}");
                let (mut talk, offence) = up_to_the_offence(&mut rig, family, port);
                rig.expect(&shows, &offence, passes(State::Established));
                let ping = talk.server_sends("PA", b"X_PING * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
                rig.expect(&shows, &ping, passes(State::Established));
                let pong = talk.client_sends("PA", REPLY);
                rig.expect(&shows, &pong, passes(State::Established));

                let events = rig.events();
                let found: Vec<_> = events
                    .iter()
                    .filter_map(|event| event.filter.as_ref())
                    .map(|filter| filter.finding.as_str())
                    .collect();
                assert_eq!(found, expected, "{shows}: {events:#?}");
                assert_eq!(events.len(), expected.len(), "{shows}: nothing else is told");
                for event in &events {
                    assert_eq!(event.event, "filter_finding", "{shows}");
                    assert_eq!(event.reason.as_deref(), Some("FWX_E_IPS_DETECTED"), "{shows}");
                    assert_eq!(event.code.as_deref(), Some("0xc004003c"), "{shows}");
                    let filter = event.filter.as_ref().expect("a finding names its filter");
                    assert_eq!(
                        (filter.mode.as_str(), filter.profile.as_str()),
                        (mode.name(), profile.name())
                    );
                }
            }
        }
        assert_eq!(rig.count(Reason::ConnectionKilled), 0, "{hook:?}");
        assert_eq!(rig.count(Reason::IpsDetected), 3 * 2 * FOUND.len() as u64, "{hook:?}");
    }
}

/// What `fwx filter` does is one write into the table of bindings; the next packet obeys it.
#[test]
fn a_binding_changes_for_the_next_packet_of_a_live_flow() {
    for hook in [Hook::Xdp, Hook::Tc] {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        for family in FAMILIES {
            let (mut talk, offence) = up_to_the_offence(&mut rig, family, 40_000);
            rig.unbind();
            rig.expect("unbound it passes", &offence, passes(State::Established));
            assert_eq!(rig.events(), [], "and nothing is found");
            rig.bind(Mode::Enforce, Profile::Strict);
            let next = talk.server_sends("PA", REPLY_WITHOUT_CSEQ);
            rig.expect("bound again, the next one kills", &next, killed());
            let events = rig.events();
            let finding = only(&events).filter.as_ref().expect("the filter").finding.clone();
            assert_eq!(finding, "missing-cseq");
        }
    }
}
