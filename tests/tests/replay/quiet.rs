//! Rules with `log = false`: what they decide and let in is counted, and makes no events.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::{flows::FlowTable, replay::Hook};
use lab::replaying::{
    Conversation, DESCRIBE, FAMILIES, OPTIONS, REPLY, REPLY_WITHOUT_CSEQ, RTSP_PORT, Rig, drops,
    passes, resets,
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];

const POLICY: &str = r#"
[gateway]
interfaces = ["lan0"]
default = "deny"

[protocol.rtsp]
transport = "tcp"
ports = [554]
filter = { name = "rtsp", mode = "enforce", profile = "strict" }

[protocol.web]
transport = "tcp"
ports = [80]

[protocol.noise]
transport = "udp"
ports = [137]

[protocol.ssh]
transport = "tcp"
ports = [22]

[[rule]]
name = "noise"
action = "deny"
protocols = ["noise"]
log = false

[[rule]]
name = "told no more"
action = "reject"
protocols = ["ssh"]
log = false

[[rule]]
name = "quiet"
action = "allow"
protocols = ["rtsp", "web"]
log = false
"#;

#[test]
fn what_a_quiet_rule_refuses_is_counted_and_not_told() {
    for hook in HOOKS {
        let mut rig = Rig::new(POLICY, hook);
        for family in FAMILIES {
            let before = rig.count(Reason::PolicyRulesDenied);
            rig.expect("noise", &family.udp(5_000, 137), drops(Reason::PolicyRulesDenied));
            rig.expect("a reject", &family.tcp(5_000, 22), resets(Reason::PolicyRulesDenied));
            assert_eq!(rig.events(), [], "{hook:?}");
            rig.expect("by default", &family.udp(5_000, 138), drops(Reason::PolicyRulesDenied));
            assert_eq!(rig.events().len(), 1, "{hook:?}: the default is not quiet");
            assert_eq!(rig.count(Reason::PolicyRulesDenied) - before, 3);
        }
    }
}

#[test]
fn a_connection_of_a_quiet_rule_lives_and_ends_quietly() {
    for hook in HOOKS {
        let mut rig = Rig::new(POLICY, hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, 80);
            let mut quiet = Vec::new();
            for table in [FlowTable::CompletedV4, FlowTable::CompletedV6] {
                let each =
                    rig.tables().each_entry(table, |entry| quiet.push(entry.flow.is_quiet()));
                each.expect("the table can be read");
            }
            assert!(!quiet.is_empty() && quiet.iter().all(|quiet| *quiet));
            let astray = talk.as_client("A").seq(talk.client_next().wrapping_add(1 << 30));
            let mismatch = drops(Reason::SeqAckMismatch).in_state(State::Established);
            rig.expect("beyond the window", &astray, mismatch);
            let reset = talk.client_sends("R", b"");
            rig.expect("its end", &reset, passes(State::Closed));
            assert_eq!(rig.events(), [], "{hook:?}");
        }
        assert_eq!(rig.count(Reason::AbortiveShutdown), 2, "ends are counted");
    }
}

#[test]
fn a_kill_is_always_told() {
    for hook in HOOKS {
        let mut rig = Rig::new(POLICY, hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            let living = passes(State::Established);
            for (shows, packet) in [
                ("OPTIONS", talk.client_sends("PA", OPTIONS)),
                ("its reply", talk.server_sends("PA", REPLY)),
                ("DESCRIBE", talk.client_sends("PA", DESCRIBE)),
            ] {
                rig.expect(shows, &packet, living);
            }
            assert_eq!(rig.events(), [], "{hook:?}");
            let offence = talk.server_sends("PA", REPLY_WITHOUT_CSEQ);
            let killed = resets(Reason::ConnectionKilled).in_state(State::Killed);
            rig.expect("the offence", &offence, killed);
            let events = rig.events();
            let [kill] = &events[..] else { panic!("one event, not {events:?}") };
            assert_eq!(kill.event, "connection_killed");
            assert_eq!(kill.rule.as_deref(), Some("quiet"));
            let after = talk.as_client("A");
            let told = resets(Reason::TcpNotSyn).in_state(State::Killed);
            rig.expect("what comes after", &after, told);
            assert_eq!(rig.events(), [], "{hook:?}: what its rule let in stays quiet");
        }
    }
}
