//! Notations of the Transport header, in requests and replies.

use super::{asks, grants, lives, lives_unblamed, opened};
use crate::filter::finding::Effect;
use crate::filter::rtsp::FINDINGS;
use crate::filter::tests::talk::Heard;
use crate::policy::Profile;

/// What is made of a SETUP with this request and this reply.
#[track_caller]
fn setup(wanted: &str, granted: &str) -> Heard {
    let wanted = format!("Transport: {wanted}");
    let granted = format!("Transport: {granted}");
    lives([asks("SETUP", 1, &[&wanted]), grants(1, &[&granted, "Session: 1"])])
}

const WANTED: &str = "RTP/AVP;unicast;client_port=4588-4589";
const GRANTED: &str = "RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257";

#[test]
fn parameters_come_in_any_order_with_blanks_and_quotes() {
    for (wanted, granted) in [
        (WANTED, GRANTED),
        (
            "RTP/AVP/UDP;client_port=4588-4589;mode=play;unicast",
            "rtp/avp/udp;server_port=6256-6257",
        ),
        (
            "RTP/AVP; unicast; client_port = 4588 - 4589",
            "RTP/AVP ;unicast; server_port= 6256-6257 ",
        ),
        ("RTP/AVP;client_port=\"4588-4589\"", "RTP/AVP;mode=\"PLAY\";server_port=\"6256-6257\""),
        (
            "RTP/AVP;a=\"x;client_port=1,2\";client_port=4588-4589",
            "RTP/AVP;a=\",\";server_port=6256",
        ),
        ("RTP/SAVPF;unicast;CLIENT_PORT=4588-4589;", "RTP/SAVPF;;Server_Port=6256-6257;ssrc=1A2B"),
        ("RTP/AVP;client_port=04588-04589", "RTP/AVP;ttl=16;server_port=6256-6257;layers=2"),
        ("x-real-rdt/udp;client_port=4588-4599", "x-real-rdt/udp;server_port=6256"),
    ] {
        let heard = setup(wanted, granted);
        assert_eq!(heard.reports, [], "{wanted} {granted}");
        assert_eq!(opened(&heard), [(4588, 6256, 2)], "{wanted} {granted}");
    }
}

#[test]
fn ports_that_are_odd_are_tolerated() {
    for (wanted, granted, expected) in [
        ("RTP/AVP;client_port=4588", GRANTED, [(4588, 6256, 1)].as_slice()),
        ("RTP/AVP;client_port=4588/4589", GRANTED, &[(4588, 6256, 2)]),
        ("RTP/AVP;client_port=4588/6000", GRANTED, &[(4588, 6256, 1)]),
        ("RTP/AVP;client_port=4588-4588", GRANTED, &[(4588, 6256, 1)]),
        ("RTP/AVP;client_port=65535", "RTP/AVP;server_port=6256", &[(65535, 6256, 1)]),
        (WANTED, "RTP/AVP;client_port=4588;server_port=6256", &[(4588, 6256, 2)]),
        (WANTED, "RTP/AVP;server_port=0-0", &[(4588, 0, 2)]),
        (WANTED, "RTP/AVP;unicast", &[(4588, 0, 2)]),
        ("RTP/AVP;client_port=0-0", "RTP/AVP;server_port=6256", &[]),
    ] {
        let heard = setup(wanted, granted);
        assert_eq!(heard.reports, [], "{wanted} {granted}");
        assert_eq!(opened(&heard), expected, "{wanted} {granted}");
    }
}

#[test]
fn what_is_no_port_is_noted() {
    for (wanted, granted, expected) in [
        ("RTP/AVP;client_port=", "RTP/AVP;client_port=;server_port=", [].as_slice()),
        (WANTED, "RTP/AVP;client_port=;server_port=", &[(4588, 0, 2)]),
        (WANTED, "RTP/AVP;server_port=6256-", &[(4588, 6256, 2)]),
        ("RTP/AVP;client_port=4588-4000", GRANTED, &[(4588, 6256, 1)]),
        ("RTP/AVP;client_port=70124-70125", GRANTED, &[]),
        ("RTP/AVP;client_port=4294971884", GRANTED, &[]),
        ("RTP/AVP;client_port=4588-4294971885", GRANTED, &[]),
        ("RTP/AVP;client_port=45 88-4589", GRANTED, &[]),
        ("RTP/AVP;client_port=45\r\n 88-4589", GRANTED, &[]),
        ("RTP/AVP;client_port=-1", GRANTED, &[]),
        ("RTP/AVP;client_port=4588x", GRANTED, &[]),
        (WANTED, "RTP/AVP;server_port=71792", &[]),
        (WANTED, "RTP/AVP;server_port=6256;mode=\"PLAY", &[(4588, 6256, 2)]),
    ] {
        let heard = setup(wanted, granted);
        assert!(heard.names().contains(&"malformed-transport"), "{wanted} {granted}");
        assert_eq!(opened(&heard), expected, "{wanted} {granted}");
    }
}

#[test]
fn the_first_alternative_that_can_be_is_asked_for_and_the_reply_decides() {
    for (wanted, granted, expected) in [
        (
            "RTP/AVP/TCP;interleaved=0-1, RTP/AVP;multicast;client_port=1-2 ,RTP/AVP;client_port=4588-4589",
            GRANTED,
            [(4588, 6256, 2)].as_slice(),
        ),
        (
            "RTP/AVP;client_port=4588-4589,RTP/AVP;client_port=6000-6001",
            GRANTED,
            &[(4588, 6256, 2)],
        ),
        (
            "x-real-rdt/udp;client_port=4588;mode=play,rtp/avp;unicast;client_port=4588-4589",
            GRANTED,
            &[(4588, 6256, 2)],
        ),
        (" , ,RTP/AVP;client_port=4588-4589", GRANTED, &[(4588, 6256, 2)]),
        (WANTED, "RTP/AVP/TCP;unicast;interleaved=0-1", &[]),
        (WANTED, "RTP/AVP;unicast;interleaved=0-1;client_port=4588-4589", &[]),
        (WANTED, "RTP/AVP/TCP;interleaved=0-1,RTP/AVP;client_port=4588-4589", &[]),
        ("RTP/AVP/TCP;interleaved=0-1", "RTP/AVP/TCP;interleaved=4-5", &[]),
        (WANTED, "RTP/AVP;multicast;destination=239.1.2.3;port=3456-3457;ttl=16", &[]),
        (WANTED, "RTP/AVP;destination=239.1.2.3;port=3456-3457", &[]),
        ("RTP/AVP;multicast", "RTP/AVP;multicast;destination=ff3e::8000:1;client_port=9000", &[]),
    ] {
        let heard = setup(wanted, granted);
        assert_eq!(heard.reports, [], "{wanted} {granted}");
        assert_eq!(opened(&heard), expected, "{wanted} {granted}");
    }
}

#[test]
fn alternatives_may_stand_in_headers_of_their_own() {
    let heard = lives_unblamed([
        asks(
            "SETUP",
            1,
            &["Transport: RTP/AVP/TCP;interleaved=0-1", "Transport: RTP/AVP;client_port=4588-4589"],
        ),
        grants(1, &["Transport: RTP/AVP;server_port=6256-6257"]),
    ]);
    assert_eq!(opened(&heard), [(4588, 6256, 2)]);
}

#[test]
fn addresses_of_rtsp_2() {
    for (wanted, granted) in [
        (
            "RTP/AVP;unicast;dest_addr=\":4588\"/\":4589\";mode=\"PLAY\"",
            "RTP/AVP;dest_addr=\"10.1.0.2:4588\"/\"10.1.0.2:4589\";src_addr=\"10.2.0.2:6256\"/\"10.2.0.2:6257\"",
        ),
        (
            "RTP/AVP;dest_addr=\"10.1.0.2:4588\" / \"10.1.0.2:4589\"",
            "RTP/AVP/UDP;src_addr=\"media.example:6256\"/\"media.example:6257\";ssrc=93CB001E",
        ),
        ("RTP/AVP;dest_addr=:4588/:4589", "RTP/AVP;src_addr=10.2.0.2:6256/10.2.0.2:6257"),
    ] {
        let heard = setup(wanted, granted);
        assert_eq!(heard.reports, [], "{wanted} {granted}");
        assert_eq!(opened(&heard), [(4588, 6256, 2)], "{wanted} {granted}");
    }
    let foreign = setup(WANTED, "RTP/AVP;src_addr=\"10.9.9.9:6256\"/\"10.2.0.2:6257\"");
    assert_eq!((foreign.names(), opened(&foreign)), (vec!["foreign-address"], vec![]));
    let lacking = setup("RTP/AVP;dest_addr=\"10.1.0.2\"", "RTP/AVP;dest_addr=\"10.1.0.2:\"");
    assert_eq!((lacking.names(), opened(&lacking)), (vec!["malformed-transport"], vec![]));
}

#[test]
fn the_ends_themselves_may_be_named() {
    for (wanted, granted) in [
        (
            WANTED,
            "RTP/AVP;client_port=4588-4589;server_port=6256-6257;source=10.2.0.2;destination=10.1.0.2",
        ),
        ("RTP/AVP;destination=10.1.0.2;client_port=4588-4589", GRANTED),
        (
            "RTP/AVP;client_port=4588-4589;destination=0.0.0.0",
            "RTP/AVP;server_port=6256;source=\"10.2.0.2\"",
        ),
        (
            "RTP/AVP;client_port=4588-4589;destination=",
            "RTP/AVP;server_port=6256;source=camera.local",
        ),
        (
            "RTP/AVP;client_port=4588-4589;destination",
            "RTP/AVP;server_port=6256;source = ::ffff:10.2.0.2 ",
        ),
        ("RTP/AVP;client_port=4588-4589;mode=record;destination=10.2.0.2", GRANTED),
    ] {
        let heard = setup(wanted, granted);
        assert_eq!(heard.reports, [], "{wanted} {granted}");
        assert_eq!(opened(&heard), [(4588, 6256, 2)], "{wanted} {granted}");
    }
}

#[test]
fn a_third_host_is_noted_and_nothing_is_opened() {
    for (wanted, granted) in [
        (WANTED, "RTP/AVP;destination=10.9.9.9;client_port=4588-4589;server_port=6256-6257"),
        (WANTED, "RTP/AVP;client_port=4588-4589;server_port=6256-6257;source=10.9.9.9"),
        (WANTED, "RTP/AVP;client_port=4588-4589;server_port=6256;source=2001:db8::1"),
    ] {
        let heard = setup(wanted, granted);
        assert_eq!(heard.names(), ["foreign-address"], "{granted}");
        assert_eq!(heard.reports[0].excerpt, format!("Transport: {granted}")[..64]);
        assert_eq!(opened(&heard), [], "{granted}");
    }
    let heard =
        setup("RTP/AVP;client_port=4588-4589;destination=10.9.9.9", "RTP/AVP;server_port=6256");
    assert_eq!((heard.names(), opened(&heard)), (vec!["foreign-address"], vec![]));
}

#[test]
fn ports_of_the_system_are_noted_and_nothing_is_opened() {
    for (wanted, granted) in [
        ("RTP/AVP;client_port=1023-1024", "RTP/AVP;server_port=6256-6257"),
        (WANTED, "RTP/AVP;server_port=53"),
        (WANTED, "RTP/AVP;server_port=1024/1023"),
    ] {
        let heard = setup(wanted, granted);
        assert_eq!(
            (heard.names(), opened(&heard)),
            (vec!["low-port"], vec![]),
            "{wanted} {granted}"
        );
    }
    let lowest = setup("RTP/AVP;client_port=1024-1025", "RTP/AVP;server_port=1024-1025");
    assert_eq!((lowest.names(), opened(&lowest)), (vec![], vec![(1024, 1024, 2)]));
}

#[test]
fn a_port_that_nobody_asked_for_is_noted_and_nothing_is_opened() {
    for (wanted, granted) in [
        (WANTED, "RTP/AVP;client_port=3389-3390;server_port=6256-6257"),
        ("RTP/AVP/TCP;interleaved=0-1", GRANTED),
        ("RTP/AVP;unicast", GRANTED),
    ] {
        let heard = setup(wanted, granted);
        assert_eq!((heard.names(), opened(&heard)), (vec!["unasked-port"], vec![]), "{wanted}");
    }
}

#[test]
fn whatever_is_noted_here_kills_in_the_strict_profile() {
    for name in ["malformed-transport", "foreign-address", "low-port", "unasked-port"] {
        let info = FINDINGS.iter().find(|info| info.name == name).unwrap();
        assert_eq!(info.effect(Profile::Standard), Effect::Note);
        assert_eq!(info.effect(Profile::Strict), Effect::Kill);
    }
}
