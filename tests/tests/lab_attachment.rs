//! Attachment, by what the kernel has for it: programs outlive their process, are exchanged under a connection, change
//! their mode, and leave nothing. Where there is no TCX (before Linux 6.6), traffic control has them in a filter.

use std::{collections::BTreeSet, net::TcpListener, path::PathBuf, process::Command};

use lab::{Fwx, Lab, Mode, peers::pair::Pair, policy, traces};

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
const PORT: u16 = 7;

/// A connection of each address family, through the gateway.
fn connect(lab: &Lab) -> Vec<Pair> {
    [
        (lab.client.socket_v4(0), lab.camera.socket_v4(PORT)),
        (lab.client.socket_v6(0), lab.camera.socket_v6(PORT)),
    ]
    .map(|(from, to)| {
        let listener = lab.camera.run(|| TcpListener::bind(to)).unwrap().unwrap();
        Pair::connect(&lab.client, from, to, &listener).unwrap()
    })
    .into()
}

fn all_talk(pairs: &[Pair]) {
    pairs.iter().for_each(|pair| pair.talk().unwrap());
}

/// The programs on both interfaces of the gateway.
fn attached(lab: &Lab) -> BTreeSet<u32> {
    let programs = |name| traces::attached_programs(lab.gateway(), name).unwrap();
    INTERFACES.into_iter().flat_map(programs).collect()
}

/// What `tc` prints of one kind of thing on the gateway's interfaces.
fn traffic_control(lab: &Lab, what: &[&str]) -> String {
    INTERFACES
        .into_iter()
        .map(|interface| {
            let mut tc: Command = lab.gateway().command("tc");
            lab.gateway().output(tc.args(what).args(["dev", interface])).unwrap()
        })
        .collect()
}

#[test]
fn programs_outlive_their_process_are_exchanged_and_leave_nothing() {
    let lab = Lab::single().unwrap();
    let open = policy::open(&INTERFACES);
    let before = traffic_control(&lab, &["qdisc", "show"]);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    // Nobody stays.
    fwx.up(&open, Mode::Tc).unwrap();
    let means = fwx.status().unwrap().interfaces[0].egress.clone();
    assert!(["tcx", "clsact"].contains(&means.as_str()), "{means}");
    let pairs = connect(&lab);
    all_talk(&pairs);
    let flows = |fwx: &Fwx<'_>| fwx.status().unwrap().flows;
    assert_eq!((flows(&fwx).ipv4.completed, flows(&fwx).ipv6.completed), (1, 1));
    // One for what comes in and one for what goes out, each on both interfaces.
    let mut ids = attached(&lab);
    assert_eq!(ids.len(), 2, "{ids:?}");

    for (mode, ingress) in [(Mode::Tc, "tc"), (Mode::Generic, "generic"), (Mode::Tc, "tc")] {
        fwx.up(&open, mode).unwrap();
        let status = fwx.status().unwrap();
        for interface in &status.interfaces {
            assert_eq!((interface.ingress.as_str(), &interface.egress), (ingress, &means));
        }
        let new = attached(&lab);
        assert_eq!(new.len(), 2, "{mode}: {new:?}");
        assert!(ids.is_disjoint(&new), "{mode}: other programs took their place");
        assert!(traces::still_loaded(&ids).is_empty(), "{mode}: {ids:?}");
        ids = new;
        all_talk(&pairs);
        assert_eq!(status.flows.ipv4.completed, 1, "{mode}: the flow is the one of before");
    }

    fwx.down().unwrap();
    assert_eq!(attached(&lab), BTreeSet::new());
    assert_eq!(traffic_control(&lab, &["qdisc", "show"]), before);
    assert_eq!(traces::pins(fwx.instance()), Vec::<PathBuf>::new());
    all_talk(&pairs);
}

#[test]
fn what_somebody_else_attached_stays() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    let open = policy::open(&INTERFACES);
    for interface in INTERFACES {
        gateway
            .output(gateway.command("tc").args(["qdisc", "add", "dev", interface, "clsact"]))
            .unwrap();
    }
    let theirs = traffic_control(&lab, &["qdisc", "show"]);
    let mut first = Fwx::new(gateway, lab.instance("gw")).unwrap();
    first.up(&open, Mode::Tc).unwrap();
    let ids = attached(&lab);

    // A second instance is refused, and the first goes on.
    let mut second = Fwx::new(gateway, lab.instance("second")).unwrap();
    let error = format!("{:#}", second.up(&open, Mode::Tc).unwrap_err());
    assert!(error.contains("another instance"), "{error}");
    second.down().unwrap();
    assert_eq!(attached(&lab), ids);
    all_talk(&connect(&lab));

    first.down().unwrap();
    assert_eq!(attached(&lab), BTreeSet::new());
    assert_eq!(traffic_control(&lab, &["qdisc", "show"]), theirs);
}
