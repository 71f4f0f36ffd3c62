//! Ports that are used again, connections that are begun anew, and names that outlive nothing.

use std::net::SocketAddr;

use anyhow::ensure;
use firewall_common::flow::{Flow, KeyV4, State};
use lab::{
    Fwx, Lab, Mode,
    flows::{self, Flows},
    nat::{MASQUERADE, MASQUERADE_RANDOM},
    peers::{echo, pair::Pair},
    policy, wait,
};

use super::{
    INTERFACES, MASQUERADE_ONE_PORT, PORT, any, assert_only_name, lab_address, listen, reset,
};

#[test]
fn a_translated_port_may_be_used_again_by_another_client() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    gateway.nft(MASQUERADE_ONE_PORT).unwrap();
    // The kernel's tracker forgets a connection at once that was reset; the firewall remembers it for longer.
    gateway.sysctl("netfilter/nf_conntrack_tcp_timeout_close", "1").unwrap();
    gateway.sysctl("netfilter/nf_conntrack_tcp_timeout_time_wait", "1").unwrap();
    let mut fwx = Fwx::new(gateway, lab.instance("gw")).unwrap();
    fwx.run(&format!("{}\n[timeouts]\nclose = 100\n", policy::open(&INTERFACES)), Mode::Auto)
        .unwrap();

    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let listener = listen(&lab.camera, to);
        let mut numbers = Vec::new();
        for turn in 0..3 {
            // While the port is taken the kernel drops the SYN; the client repeats it.
            let pair = wait::until_within(20, "the port is free again", || {
                Pair::connect(&lab.client, any(&lab.client, to), to, &listener)
            })
            .unwrap();
            let ([near, _], [seen, _]) = (pair.near_ends(), pair.far_ends());
            assert_eq!(seen.port(), 50_000, "the port is not the one that all have");
            pair.talk().unwrap_or_else(|error| {
                panic!("turn {turn}: {error:#}\n{}\n{:#?}", fwx.diagnostics(), Flows::of(&fwx))
            });
            let flow =
                flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed)
                    .unwrap();
            assert_only_name(&fwx, &flow, seen, to);
            numbers.push(flow.flow.id);
            if turn == 1 {
                // Closed in order, not reset; it stays in TIME_WAIT.
                pair.close().unwrap();
            } else {
                reset(&pair.near);
                drop(pair);
            }
            flows::wait_for(&fwx, near, to, "over", |flow| flow.state().is_over()).unwrap();
        }
        numbers.dedup();
        assert_eq!(numbers.len(), 3, "each is a flow of its own");
        // The flows that are over are still there, and the name leads to the last.
        let flows = Flows::of(&fwx).unwrap();
        let names: Vec<_> = flows.names.iter().filter(|name| name.destination == to).collect();
        assert_eq!(names.len(), 1, "{flows:#?}");
    }
}

/// Both ends lost the connection without a word, and the one that began it does so again, from the same port.
#[test]
fn a_connection_that_is_begun_anew_keeps_its_other_name() {
    const MUTE: &str = "table inet mute {
        chain out {
            type filter hook output priority filter
            tcp flags & (fin | rst) != 0 drop
        }
    }";
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE_RANDOM).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let listener = listen(&lab.camera, to);
        let pair = Pair::connect(&lab.client, any(&lab.client, to), to, &listener).unwrap();
        pair.talk().unwrap();
        let ([near, _], [seen, _]) = (pair.near_ends(), pair.far_ends());
        let first = flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed);
        for host in [&lab.client, &lab.camera] {
            host.nft(MUTE).unwrap();
        }
        reset(&pair.near);
        reset(&pair.far);
        drop(pair);
        for host in [&lab.client, &lab.camera] {
            host.nft("delete table inet mute").unwrap();
        }

        let pair = Pair::connect(&lab.client, near, to, &listener).unwrap();
        assert_eq!(pair.far_ends()[0], seen, "the kernel gives it another name");
        pair.talk().unwrap();
        let again = flows::wait_for(&fwx, near, to, "there", |flow| flow.completed).unwrap();
        assert_ne!(again.flow.id, first.unwrap().flow.id);
        assert_only_name(&fwx, &again, seen, to);
    }
}

#[test]
fn a_flow_that_was_silent_for_too_long_may_begin_anew_from_its_other_end() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let server = echo::socket(&lab.camera, to).unwrap();
        let client = echo::socket(&lab.client, any(&lab.client, to)).unwrap();
        client.send_to(b"first", to).unwrap();
        let seen = echo::hear(&server).unwrap();
        server.send_to(b"its answer", seen).unwrap();
        echo::hear(&client).unwrap();
        let from = SocketAddr::new(lab_address(&lab, to), client.local_addr().unwrap().port());
        let first = flows::wait_for(&fwx, from, to, "there", |_| true).unwrap();

        flows::age(&fwx, from, to).unwrap();
        server.send_to(b"once more", seen).unwrap();
        echo::hear(&client).unwrap();
        client.send_to(b"and back", to).unwrap();
        assert_eq!(echo::hear(&server).unwrap(), seen);

        let flows = Flows::of(&fwx).unwrap();
        let second = flows.find(to, seen).unwrap_or_else(|| panic!("{flows:#?}"));
        assert_ne!(second.flow.id, first.flow.id);
        assert_eq!(second.packets(), [1, 1], "{flows:#?}");
        let [name] = flows.names_of(second)[..] else { panic!("{flows:#?}") };
        assert_eq!((name.source, name.destination), (to, from));
        assert!(flows.find(from, to).is_none(), "the old flow is still there: {flows:#?}");
    }
}

#[test]
fn the_name_of_a_flow_that_lives_is_not_swept() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    let to = lab.camera.socket_v4(PORT);
    let listener = listen(&lab.camera, to);
    let pair = Pair::connect(&lab.client, any(&lab.client, to), to, &listener).unwrap();
    pair.talk().unwrap();
    let ([near, _], [seen, _]) = (pair.near_ends(), pair.far_ends());
    let flow = flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed);
    let flow = flow.unwrap();
    assert_only_name(&fwx, &flow, seen, to);

    // As if the connection were older than every timeout but its own. Beside it, a flow that is to go, so that
    // one sees when the sweep has been, and a name that leads nowhere.
    let mut table = flows::tables(&fwx).unwrap().flows_v4().unwrap();
    let key = table.keys().map(Result::unwrap);
    let key = key.max_by_key(|key| table.get(key, 0).unwrap().state == State::Alias as u8).unwrap();
    let name = table.get(&key, 0).unwrap();
    assert_eq!(name.state(), State::Alias);
    table.insert(key, Flow { last_seen: 0, ..name }, 0).unwrap();
    let stale = KeyV4 { ports: [1, 2], ..key };
    let nowhere = KeyV4 { ports: [3, 4], ..key };
    let old = Flow { last_seen: 0, state: State::Closed as u8, ..flow.flow };
    table.insert(stale, Flow { id: 1, ..old }, 0).unwrap();
    table.insert(nowhere, Flow { id: 2, ..name }, 0).unwrap();
    wait::until_within(1000, "the sweep has been", || {
        ensure!(table.get(&stale, 0).is_err(), "the old flow is there");
        ensure!(table.get(&nowhere, 0).is_err(), "the name that leads nowhere is there");
        Ok(())
    })
    .unwrap();
    assert_only_name(&fwx, &flow, seen, to);
    pair.talk().unwrap();
}
