//! Networks of interfaces on a real gateway: the kernel's numbers of interfaces are those that the policy means, also
//! when another policy lists them in another order.

use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use lab::{Fwx, Host, Lab, Mode, policy};

const PORT: u16 = 8080;

/// What comes in by `inside` is let in, the rest is told that it is not.
fn letting_in(interfaces: &[&str], inside: &str) -> String {
    policy::open(interfaces)
        + &format!(
            "[network.inside]\ninterfaces = [\"{inside}\"]\n\
             [protocol.web]\ntransport = \"tcp\"\nports = [{PORT}]\n\
             [[rule]]\nname = \"inside\"\naction = \"allow\"\nfrom = [\"inside\"]\nprotocols = [\"web\"]\n\
             [[rule]]\nname = \"the rest\"\naction = \"reject\"\nprotocols = [\"web\"]\n"
        )
}

/// Whether a connection between two hosts comes about; if not, it is refused.
fn connects(from: &Host, to: SocketAddr) -> bool {
    let connected = from.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(10))).unwrap();
    match connected {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
        Err(error) => panic!("to {to}: {error}"),
    }
}

#[test]
fn who_comes_in_by_the_interface_is_let_in() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let (client, camera) = (&lab.client, &lab.camera);
    let ends: Vec<SocketAddr> = [client, camera]
        .into_iter()
        .flat_map(|host| [host.socket_v4(PORT), host.socket_v6(PORT)])
        .collect();
    let hosts = [client, client, camera, camera];
    let _listeners: Vec<_> = hosts
        .iter()
        .zip(&ends)
        .map(|(host, address)| host.run(|| TcpListener::bind(address)).unwrap().unwrap())
        .collect();
    let assert_let_in = |by_client: bool| {
        for (index, to) in ends.iter().enumerate() {
            let (from, expected) =
                if index < 2 { (camera, !by_client) } else { (client, by_client) };
            assert_eq!(connects(from, *to), expected, "to {to}");
        }
    };
    fwx.up(&letting_in(&["lan0", "wan0"], "lan0"), Mode::Auto).unwrap();
    assert_let_in(true);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    for (interfaces, inside, by_client) in
        [(["wan0", "lan0"], "wan0", false), (["wan0", "lan0"], "lan0", true)]
    {
        fs::write(&file, letting_in(&interfaces, inside)).unwrap();
        fwx.call(&["apply", file.to_str().unwrap()]).unwrap().success().unwrap();
        assert_let_in(by_client);
    }
}
