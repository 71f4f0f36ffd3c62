//! A table of flows that is full: who is in it goes on, who comes is refused and told so, and gets in as soon as
//! there is room.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::ensure;
use lab::{Fwx, Lab, Mode, peers::crowd::Crowd, wait};

/// The smallest table that a policy may ask for.
const ROOM: usize = 1_024;
/// Connections that leave after a while.
const LEAVING: usize = 24;
/// Connections that find no room.
const LATE: usize = 3;
const PACE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);
/// How long those who come late wait: until the flows of those who left are silent for long enough and swept
/// out, and their own kernel tries again.
const LATE_PATIENCE: Duration = Duration::from_secs(60);
const REFUSED: &str = "FWX_E_OUT_OF_RESOURCES";

const POLICY: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "allow"

[tables]
completed = 1024
half_open = 1024

[timeouts]
time_wait = 1
close = 1
"#;

#[test]
fn a_full_table_keeps_whom_it_has_and_refuses_others_until_there_is_room() {
    let lab = Lab::single().unwrap();
    let (client, camera) = (&lab.client, &lab.camera);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(POLICY, Mode::Auto).unwrap();

    let staying = ROOM - LEAVING;
    let crowd = Crowd::gather(client, camera, camera.socket_v4(7_000), staying, PACE).unwrap();
    let listener = camera.run(|| TcpListener::bind(camera.socket_v4(8_000))).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    let connect = || {
        let server = camera.socket_v4(8_000);
        client.run(|| TcpStream::connect_timeout(&server, PATIENCE)).unwrap().unwrap()
    };
    let leaving: Vec<_> = (0..LEAVING)
        .map(|_| {
            let near = connect();
            let far = wait::until("it is accepted", || Ok(listener.accept()?.0)).unwrap();
            talk(&near, &far).unwrap();
            (near, far)
        })
        .collect();
    crowd.goes_on(2, 1_500).unwrap();
    let flows = fwx.status().unwrap().flows;
    assert_eq!((flows.ipv4.completed, flows.ipv4.half_open), (ROOM as u64, 0));
    assert_eq!(fwx.status().unwrap().drops, [].into(), "all had room");

    // Their SYN and its answer pass: that the table is full shows when the flow would have to enter it.
    let late: Vec<_> = (0..LATE).map(|_| connect()).collect();
    for mut near in &late {
        near.write_all(b"let me in").unwrap();
    }
    for near in &late {
        let port = near.local_addr().unwrap().port();
        fwx.wait_for_event("that there was no room", |event| {
            event.is_drop(REFUSED) && event.src_port == Some(port)
        })
        .unwrap();
    }
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "none got in");
    let drops = fwx.status().unwrap().drops;
    assert!(drops[REFUSED] >= LATE as u64, "{drops:?}");
    crowd.goes_on(3, 1_500).unwrap();
    // The other family has a table of its own.
    let six = camera.socket_v6(7_000);
    let other = Crowd::gather(client, camera, six, 1, PACE).unwrap();
    other.goes_on(1, 500).unwrap();

    drop(leaving);
    let mut let_in = Vec::new();
    wait::until_within(LATE_PATIENCE.as_secs() as u32 * 50, "those who came late got in", || {
        while let Ok((stream, _)) = listener.accept() {
            let_in.push(stream);
        }
        ensure!(let_in.len() >= LATE, "{} of {LATE}: {:?}", let_in.len(), fwx.status()?.flows);
        Ok(())
    })
    .unwrap();
    let peers = |streams: &[TcpStream], of: fn(&TcpStream) -> io::Result<SocketAddr>| {
        let mut ports: Vec<_> = streams.iter().map(|s| of(s).unwrap().port()).collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(peers(&let_in, TcpStream::peer_addr), peers(&late, TcpStream::local_addr));
    for mut far in &let_in {
        let mut heard = [0; 9];
        far.set_nonblocking(false).unwrap();
        far.set_read_timeout(Some(LATE_PATIENCE)).unwrap();
        far.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"let me in");
    }
    // There is room for more than them.
    let near = connect();
    let far = wait::until("another one gets in", || Ok(listener.accept()?.0)).unwrap();
    talk(&near, &far).unwrap();

    crowd.goes_on(2, 1_500).unwrap();
    let report = crowd.finish();
    assert_eq!(report.broken, [""; 0]);
    println!(
        "{staying} connections went on for {} messages, the longest answer took {:?}; drops {:?}, flows {:?}",
        report.answered,
        report.longest,
        fwx.status().unwrap().drops,
        fwx.status().unwrap().flows.ipv4,
    );
}

/// A word each way.
fn talk(mut near: &TcpStream, mut far: &TcpStream) -> io::Result<()> {
    let mut heard = [0; 4];
    far.set_nonblocking(false)?;
    for stream in [near, far] {
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    near.write_all(b"ping")?;
    far.read_exact(&mut heard)?;
    far.write_all(b"pong")?;
    near.read_exact(&mut heard)
}
