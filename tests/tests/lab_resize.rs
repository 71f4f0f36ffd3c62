//! The flow tables get another size while connections talk through them, and another layout is not misread.

use std::{fs, path::Path, time::Duration};

use firewall_user::instance::Instance;
use lab::{Fwx, Lab, Mode, peers::crowd::Crowd};

const CONNECTIONS: usize = 100;
const PACE: Duration = Duration::from_millis(50);

fn policy(completed: u32, half_open: u32) -> String {
    format!(
        "[gateway]\ninterfaces = [\"lan0\", \"wan0\"]\ndefault = \"allow\"\n\n[tables]\ncompleted = \
         {completed}\nhalf_open = {half_open}\n"
    )
}

#[test]
fn tables_grow_and_shrink_under_live_connections() {
    let lab = Lab::single().unwrap();
    let (client, camera) = (&lab.client, &lab.camera);
    for (mode, port) in [(Mode::Auto, 7_000), (Mode::Generic, 7_001)] {
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.up(&policy(2_048, 1_024), mode).unwrap();
        let crowds = [camera.socket_v4(port), camera.socket_v6(port)]
            .map(|server| Crowd::gather(client, camera, server, CONNECTIONS, PACE).unwrap());
        for (completed, half_open) in [(65_536, 2_048), (1_024, 1_024), (2_048, 4_096)] {
            fwx.up(&policy(completed, half_open), mode).unwrap();
            for crowd in &crowds {
                crowd.goes_on(2, 500).unwrap();
            }
            let status = fwx.status().unwrap();
            let flows = (status.flows.ipv4.completed, status.flows.ipv6.completed);
            assert_eq!(flows, (CONNECTIONS as u64, CONNECTIONS as u64), "at {completed}");
            assert_eq!(status.drops, [].into(), "at {completed}: none was dropped");
        }
        let maps = Instance::new(fwx.instance()).unwrap().maps();
        let left: Vec<_> = fs::read_dir(&maps)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with("_old"))
            .collect();
        assert!(left.is_empty(), "{left:?} is given up");
        fwx.down().unwrap();
    }
}

#[test]
fn a_table_does_not_become_smaller_than_what_it_holds() {
    let lab = Lab::single().unwrap();
    let (client, camera) = (&lab.client, &lab.camera);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.up(&policy(2_048, 1_024), Mode::Auto).unwrap();
    let server = camera.socket_v4(7_000);
    let crowd = Crowd::gather(client, camera, server, 1_100, Duration::from_millis(500)).unwrap();
    let error = fwx.up(&policy(1_024, 1_024), Mode::Auto).unwrap_err();
    assert!(format!("{error:#}").contains("cannot be made as small as 1024"), "{error:#}");
    crowd.goes_on(2, 1_000).unwrap();
    assert_eq!(fwx.status().unwrap().drops, [].into());
    fwx.up(&policy(2_048, 1_024), Mode::Auto).unwrap();
    crowd.goes_on(1, 1_000).unwrap();
}

#[test]
fn pins_of_another_layout_are_refused_and_taken_down() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let pins = Path::new("/sys/fs/bpf/fwx/v1").join(fwx.instance());
    fs::create_dir_all(pins.join("maps")).unwrap();
    let error = fwx.up(&policy(2_048, 1_024), Mode::Auto).unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("another version of fwx") && told.contains("down"), "{told}");
    assert!(pins.is_dir(), "a refusal changes nothing");
    fwx.down().unwrap();
    assert!(!pins.exists(), "`fwx down` takes down what any version left");
    fwx.up(&policy(2_048, 1_024), Mode::Auto).unwrap();
}
