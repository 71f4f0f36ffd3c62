//! Limits on new flows, and the challenge to a SYN.

use firewall_common::{
    cookie::{self, PERIOD, Secret},
    flow::State,
    layout::Counter,
    reason::Reason,
    wire,
};
use firewall_user::replay::Hook;
use lab::{
    Mac, Packet,
    replaying::{Conversation, Expected, FAMILIES, Family, Rig, drops, passes},
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const SECOND: u64 = 1_000_000_000;
const PORT: u16 = 80;
const GATEWAY: &str = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"allow\"\n";
const SECRET: Secret = Secret([0x0123_4567_89ab_cdef, 42]);

fn limited(limits: &str, hook: Hook) -> Rig {
    Rig::new(&format!("{GATEWAY}[limits]\n{limits}\n"), hook)
}

fn by_rule(limits: &str, hook: Hook) -> Rig {
    let rule = "[[rule]]\nname = \"all\"\naction = \"allow\"\n";
    Rig::new(&format!("{GATEWAY}{rule}{limits}\n"), hook)
}

/// Three flows begin, the fourth does not, and an answer or time makes room for it.
fn three_wait_for_an_answer(rig: &mut Rig, family: Family) {
    let syn = |port| family.tcp(port, PORT);
    let mut talks = [1, 2, 3].map(|port| Conversation::new(family, port, PORT));
    for talk in &mut talks {
        rig.expect("one of three", &talk.syn(), passes(State::SynSent));
    }
    rig.expect("the fourth", &syn(4), drops(Reason::NoBacklog));
    rig.expect("a datagram is a flow too", &family.udp(5, 6), drops(Reason::NoBacklog));
    let [talk, ..] = &mut talks;
    rig.expect("an answer", &talk.syn_ack(), passes(State::SynReceived));
    rig.expect("is not yet enough", &syn(4), drops(Reason::NoBacklog));
    rig.expect("ACK", &talk.client_sends("A", b""), passes(State::Established));
    rig.expect("the fourth", &syn(4), passes(State::SynSent));
    rig.expect("the fifth", &syn(5), drops(Reason::NoBacklog));
    rig.wait(20 * SECOND);
    rig.expect("a third of the minute later", &syn(5), passes(State::SynSent));
    rig.expect("the sixth", &syn(6), drops(Reason::NoBacklog));
}

/// Three flows begin at once, and then three a second.
fn three_a_second(rig: &mut Rig, family: Family, refused: Expected) {
    let syn = |port| family.tcp(port, PORT);
    for port in 1..=3 {
        rig.expect("one of three", &syn(port), passes(State::SynSent));
    }
    rig.expect("the fourth", &syn(4), refused);
    rig.expect("a known flow is none", &syn(3), passes(State::SynSent));
    rig.wait(SECOND / 3 + 1);
    rig.expect("a third of a second later", &syn(5), passes(State::SynSent));
    rig.expect("at once", &syn(6), refused);
    rig.wait(2 * SECOND);
    for port in 7..10 {
        rig.expect("after a while three again", &syn(port), passes(State::SynSent));
    }
    rig.expect("and no more", &syn(10), refused);
}

#[test]
fn a_source_has_so_many_flows_without_an_answer() {
    for hook in HOOKS {
        let mut rig = limited("half_open_per_source = 3", hook);
        for family in FAMILIES {
            three_wait_for_an_answer(&mut rig, family);
            let other = Packet::tcp((family.stranger(), 1).into(), family.camera_at(PORT));
            rig.expect("another source", &other, passes(State::SynSent));
        }
    }
}

#[test]
fn a_source_begins_so_many_flows_a_second() {
    for hook in HOOKS {
        let mut rig = limited("new_per_second_per_source = 3", hook);
        for family in FAMILIES {
            three_a_second(&mut rig, family, drops(Reason::RateQuotaExceeded));
            let other = Packet::tcp((family.stranger(), 1).into(), family.camera_at(PORT));
            rig.expect("another source", &other, passes(State::SynSent));
        }
    }
}

#[test]
fn a_rule_lets_in_so_many_flows_without_an_answer() {
    for hook in HOOKS {
        for family in FAMILIES {
            let mut rig = by_rule("half_open = 3", hook);
            three_wait_for_an_answer(&mut rig, family);
            let other = Packet::tcp((family.stranger(), 1).into(), family.camera_at(PORT));
            rig.expect("another source", &other, drops(Reason::NoBacklog));
        }
    }
}

#[test]
fn a_rule_lets_in_so_many_flows_a_second() {
    for hook in HOOKS {
        for family in FAMILIES {
            let mut rig = by_rule("new_per_second = 3", hook);
            three_a_second(&mut rig, family, drops(Reason::RuleQuotaExceeded));
        }
    }
}

#[test]
fn a_limit_says_which_one_it_was() {
    let mut rig = by_rule("new_per_second = 1", Hook::Xdp);
    for family in FAMILIES {
        rig.wait(2 * SECOND);
        rig.expect("one", &family.tcp(1, PORT), passes(State::SynSent));
        rig.events();
        rig.expect("two", &family.tcp(2, PORT), drops(Reason::RuleQuotaExceeded));
        let event = rig.events().pop().expect("it is told");
        assert_eq!(event.reason.as_deref(), Some("FWX_E_RULE_QUOTA_EXCEEDED_DROPPED"));
        assert_eq!(event.code.as_deref(), Some("0xc0040033"));
        assert_eq!(event.rule.as_deref(), Some("all"));
    }
}

/// The cookie that the SYN in `frame` is challenged with at `now`.
fn cookie_at(frame: &[u8], now: u64) -> u32 {
    let mut packet = wire::Packet::default();
    assert_eq!(wire::parse(frame, &mut packet), wire::Parsed::Ip);
    cookie::cookie(&SECRET, &packet, now / PERIOD)
}

fn authenticating(hook: Hook) -> Rig {
    let rig = limited("syn_authentication = \"on\"", hook);
    rig.tables().set_secret(SECRET).expect("a write");
    rig
}

#[test]
fn a_syn_is_challenged_and_the_repeated_one_passes() {
    for hook in HOOKS {
        let mut rig = authenticating(hook);
        for family in FAMILIES {
            let seq = 1_000_000;
            let (here, there) = (Mac([2, 8, 8, 8, 8, 8]), Mac([2, 9, 9, 9, 9, 9]));
            let syn = family.tcp(40_000, PORT).macs(here, there).seq(seq).ttl(3);
            let syn = syn.tcp_options(&[2, 4, 5, 180, 1, 3, 3, 7]);
            let challenged = drops(Reason::SynChallenged);
            let outcome = rig.expect("a SYN", &syn, challenged);
            assert_eq!(outcome.flow_id, 0, "nothing is remembered");

            // The answer: back to the sender, with a whole way before it, checksums right.
            let cookie = cookie_at(&syn.build(), rig.now());
            let answer = Packet::tcp(family.camera_at(PORT), family.client_at(40_000))
                .macs(there, here)
                .flags("SA")
                .seq(cookie.wrapping_mul(seq | 1))
                .ack(cookie)
                .window(0)
                .ttl(64);
            assert_eq!(outcome.frame, answer.build(), "{hook:?} {family:?}");

            let reset = family.tcp(40_000, PORT).flags("R");
            for wrong in [cookie.wrapping_add(1), cookie ^ 1 << 31, seq, seq + 1] {
                let reset = reset.clone().seq(wrong);
                rig.expect("a RST of another number", &reset, drops(Reason::TcpNotSyn));
            }
            rig.expect("the SYN again", &syn, challenged);
            let right = reset.seq(cookie_at(&syn.build(), rig.now()));
            rig.expect("data in the RST", &right.clone().payload(b"x"), drops(Reason::TcpNotSyn));
            rig.expect("the right one", &right, drops(Reason::SynAuthenticated));
            rig.expect("the repeated SYN", &syn, passes(State::SynSent));
            let other = family.tcp(40_001, PORT);
            rig.expect("the source is believed", &other, passes(State::SynSent));
            let stranger = Packet::tcp((family.stranger(), 1).into(), family.camera_at(PORT));
            rig.expect("another source is not", &stranger, challenged);
        }
        let counter = |counter| rig.tables().counter(counter).expect("the counter");
        assert_eq!(counter(Counter::SynsChallenged), 6, "{hook:?}");
        assert_eq!(counter(Counter::SourcesAuthenticated), 2, "{hook:?}");
    }
}

#[test]
fn a_cookie_and_a_belief_grow_old() {
    let mut rig = authenticating(Hook::Xdp);
    for family in FAMILIES {
        let syn = family.tcp(40_000, PORT);
        rig.expect("a SYN", &syn, drops(Reason::SynChallenged));
        let reset = syn.clone().flags("R").seq(cookie_at(&syn.build(), rig.now()));
        rig.wait(2 * PERIOD);
        rig.expect("two periods later", &reset, drops(Reason::TcpNotSyn));
        rig.expect("the SYN again", &syn, drops(Reason::SynChallenged));
        let reset = syn.clone().flags("R").seq(cookie_at(&syn.build(), rig.now()));
        rig.wait(PERIOD);
        rig.expect("one period later", &reset, drops(Reason::SynAuthenticated));
        rig.wait(300 * SECOND - 1);
        rig.expect("a nanosecond before five minutes", &syn, passes(State::SynSent));
        rig.wait(1);
        let other = family.tcp(40_001, PORT);
        rig.expect("at five minutes", &other, drops(Reason::SynChallenged));
    }
}

/// Each CPU tells of 16 at a time, so the beginning is not exact.
#[test]
fn an_attack_makes_sources_show_themselves_and_its_end_does_not() {
    let policy = "syn_attack = 32\nsyn_authentication = \"auto\"";
    let mut rig = limited(policy, Hook::Xdp);
    rig.tables().set_secret(SECRET).expect("a write");
    for family in FAMILIES {
        let mut passed = 0;
        for port in 1..400 {
            let outcome = rig.frame(&family.tcp(port, PORT).build());
            if outcome.reason == Reason::SynChallenged {
                break;
            }
            assert_eq!(outcome.reason, Reason::None);
            passed += 1;
        }
        assert!((32..400).contains(&passed), "{family:?}: {passed} passed");
        rig.wait(3 * SECOND);
        rig.expect("when it is over", &family.tcp(999, PORT), passes(State::SynSent));
        rig.wait(3 * SECOND);
    }
}
