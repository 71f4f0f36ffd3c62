//! A name server that does not answer: an export waits for it, and nobody else does.

use anyhow::{Result, ensure};
use lab::{Fwx, Lab, Mode, mounts, policy, wait};
use nix::mount::{MsFlags, mount};

const EXPORT: &str = r#"
[export.siem]
kind = "syslog"
to = "tcp://log.example.net:601"
"#;
/// It is behind the client, which forwards nothing.
const RESOLVER: &str = "nameserver 192.0.2.53\noptions timeout:30 attempts:5\n";

/// Has this thread, and what it starts, ask [`RESOLVER`].
fn ask_in_vain(lab: &Lab) -> Result<()> {
    let file = lab.gateway().write_file("resolv.conf", RESOLVER)?;
    mounts::have_own()?;
    let none: Option<&str> = None;
    mount(Some(&file), "/etc/resolv.conf", none, MsFlags::MS_BIND, none)?;
    lab.gateway().ip("route add default via 10.1.0.2\n")
}

#[test]
fn a_controller_ends_while_an_export_looks_a_name_up() {
    let lab = Lab::single().unwrap();
    ask_in_vain(&lab).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(
        &(policy::cameras(&["lan0", "wan0"], "strict") + policy::THE_GATEWAY_ITSELF + EXPORT),
        Mode::Auto,
    )
    .unwrap();
    wait::until("the name is asked for", || {
        let sockets = lab.gateway().output(lab.gateway().command("ss").args(["-Huan"]))?;
        ensure!(sockets.contains("192.0.2.53:53"), "{sockets}");
        Ok(())
    })
    .unwrap();
    fwx.stop_controller().unwrap();
}
