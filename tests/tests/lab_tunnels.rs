//! The kernel's own tunnels whose packets have no Ethernet header: fwx at one end of each, as far as the kernel has them.

use std::{env, io::ErrorKind, net::SocketAddr, net::TcpStream, time::Duration};

use lab::{
    Fwx, Host, Lab, Mode,
    peers::{bulk, pair::Pair},
    policy,
};

/// Set where the kernel has all kinds, so that none may be left out.
const ALL_KINDS: &str = "FWX_TUNNELS_ALL";
const DENIED: &str = "FWX_E_POLICY_RULES_DENIED";
const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 5001;
const REFUSED_PORT: u16 = 81;
const BULK_BYTES: usize = 200_000;

/// A kind of tunnel.
struct Kind {
    /// What `ip link` calls it.
    name: &'static str,
    /// What is said about it besides, with `LOCAL` and `REMOTE` for its two ends.
    options: &'static str,
    /// Whether its own packets are IPv6.
    over_v6: bool,
    /// Whether it carries IPv6.
    carries_v6: bool,
}

const KINDS: [Kind; 6] = [
    Kind { name: "ipip", options: "local LOCAL remote REMOTE", over_v6: false, carries_v6: false },
    Kind { name: "gre", options: "local LOCAL remote REMOTE", over_v6: false, carries_v6: true },
    Kind {
        name: "sit",
        options: "mode any local LOCAL remote REMOTE",
        over_v6: false,
        carries_v6: true,
    },
    Kind {
        name: "ip6tnl",
        options: "mode any local LOCAL remote REMOTE",
        over_v6: true,
        carries_v6: true,
    },
    Kind { name: "ip6gre", options: "local LOCAL remote REMOTE", over_v6: true, carries_v6: true },
    Kind { name: "wireguard", options: "", over_v6: false, carries_v6: true },
];

/// Private and public key of each end.
const KEYS: [[&str; 2]; 2] = [
    [
        "8CMiy5hKBYSihqeMUiavKEkXBsxzAhv3muw4+L4b3Vg=",
        "aWsxrBx/LRpq+Q9AfrOds8C3WCCM8KiTDw3qaIaBngQ=",
    ],
    [
        "ELOiaDyuHds5poHNyJYB1Bx5G1B1TAoU+0kRspuuM1Y=",
        "XdmiIr1gQ9cwbic2poHaNTP3p4e8sD+8uRYOkIoSTlg=",
    ],
];

impl Kind {
    fn interface(&self) -> String {
        // The kernel has some of its own, whose names end in 0.
        format!("{}-end", self.name)
    }

    /// Makes both ends. `false`: the kernel has no such tunnels.
    fn make(&self, lab: &Lab) -> bool {
        let gateways = [lab.central(), lab.branch()];
        let made = gateways.into_iter().zip(gateways.into_iter().rev()).map(|(own, other)| {
            let end = |host: &Host| {
                let net = host.interface("net0");
                if self.over_v6 { net.ipv6.to_string() } else { net.ipv4.to_string() }
            };
            let options = self.options.replace("LOCAL", &end(own)).replace("REMOTE", &end(other));
            let Self { name, .. } = self;
            own.ip(&format!("link add {} type {name} {options}\n", self.interface()))
        });
        let made: Result<Vec<()>, _> = made.collect();
        match made {
            Err(error) if !format!("{error:#}").contains("Unknown device type") => {
                panic!("{}: {error:#}", self.name)
            }
            made => made.is_ok(),
        }
    }

    /// Has what goes between client and camera go by this tunnel.
    fn use_it(&self, lab: &Lab) {
        let name = self.interface();
        for (gateway, number) in [(lab.central(), 1), (lab.branch(), 2)] {
            gateway
                .ip(&format!(
                    "address add 10.3.0.{number}/24 dev {name}\n\
                     address add fd00:3::{number}/64 dev {name} nodad\n\
                     link set {name} up\n\
                     route add 10.{}.0.0/24 dev {name}\n",
                    3 - number
                ))
                .unwrap();
            if self.carries_v6 {
                gateway.ip(&format!("route add fd00:{}::/64 dev {name}\n", 3 - number)).unwrap();
            }
        }
    }

    fn leave_it(&self, lab: &Lab) {
        for gateway in [lab.central(), lab.branch()] {
            let name = self.interface();
            gateway.ip(&format!("link set {name} down\naddress flush dev {name}\n")).unwrap();
        }
    }
}

fn set_up_wireguard(lab: &Lab) {
    let gateways = [lab.central(), lab.branch()];
    for (number, own) in gateways.into_iter().enumerate() {
        let other = gateways[1 - number];
        let ([private, _], [_, public]) = (KEYS[number], KEYS[1 - number]);
        let key = own.write_file(&format!("key{number}"), private).unwrap();
        let mut wg = own.command("wg");
        wg.args(["set", "wireguard-end", "listen-port", "51820", "private-key"]).arg(key);
        wg.args(["peer", public, "allowed-ips", "0.0.0.0/0,::/0", "endpoint"]);
        wg.arg(SocketAddr::from((other.interface("net0").ipv4, 51820)).to_string());
        own.output(&mut wg).unwrap();
    }
}

fn policy(interfaces: &[&str]) -> String {
    policy::open(interfaces)
        + &format!(
            r#"
[protocol.refused]
transport = "tcp"
ports = [{REFUSED_PORT}]

[[rule]]
name = "refused"
action = "reject"
protocols = ["refused"]
"#
        )
}

#[test]
fn connections_by_each_kind_live_and_end_by_a_rst() {
    let lab = Lab::underlay().unwrap();
    let mut there = Vec::new();
    for kind in &KINDS {
        if kind.make(&lab) {
            there.push(kind);
        } else {
            println!("this kernel has no {}", kind.name);
            assert!(env::var_os(ALL_KINDS).is_none(), "{} has to be there", kind.name);
        }
    }
    if there.is_empty() {
        return;
    }
    if there.iter().any(|kind| kind.name == "wireguard") {
        set_up_wireguard(&lab);
    }
    let names: Vec<String> = there.iter().map(|kind| kind.interface()).collect();
    let interfaces: Vec<&str> = names.iter().map(String::as_str).chain(["cam0", "net0"]).collect();
    let mut fwx = Fwx::new(lab.branch(), lab.instance("branch")).unwrap();
    fwx.run(&policy(&interfaces), Mode::Auto).unwrap();
    for kind in there {
        kind.use_it(&lab);
        try_it(&lab, &fwx, kind);
        kind.leave_it(&lab);
    }
    let drops = fwx.status().unwrap().drops;
    assert_eq!(drops.keys().collect::<Vec<_>>(), [DENIED], "{drops:?}");
}

fn try_it(lab: &Lab, fwx: &Fwx<'_>, kind: &Kind) {
    let name = kind.name;
    let addresses = |host: &Host, port| {
        let families = [host.socket_v4(port), host.socket_v6(port)];
        families.into_iter().take(1 + usize::from(kind.carries_v6))
    };
    let denied = || fwx.status().unwrap().drops.get(DENIED).copied().unwrap_or(0);
    let ends = addresses(&lab.client, 0).zip(addresses(&lab.camera, PORT));
    for (from, to) in ends {
        let listener = lab.camera.run(|| std::net::TcpListener::bind(to)).unwrap().unwrap();
        let pair = Pair::connect(&lab.client, from, to, &listener)
            .unwrap_or_else(|error| panic!("{name} {to}: {error:#}\n{}", fwx.diagnostics()));
        pair.talk().unwrap();
        let [near, far] = pair.near_ends().map(|end| end.to_string());
        fwx.call(&["conn", "kill", &near, &far]).unwrap().success().unwrap();
        for end in [&pair.near, &pair.far] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
            let error = std::io::Read::read(&mut &*end, &mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{name} {to}: {error}");
        }
        drop(listener);
        bulk::transfer(&lab.client, &lab.camera, to, BULK_BYTES).unwrap();

        // In by the tunnel, and out by it from this machine: the firewall's RST comes back.
        let before = denied();
        let inward = SocketAddr::new(to.ip(), REFUSED_PORT);
        let outward = SocketAddr::new(from.ip(), REFUSED_PORT);
        for (host, to) in [(&lab.client, inward), (lab.branch(), outward)] {
            let refused = host.run(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
            let error = refused.expect_err("a rule rejects it");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{name} {to}: {error}");
        }
        assert_eq!(denied(), before + 2, "{name} {to}");
    }
    println!("{name}: connections live and are ended");
}
