//! A thousand policies in a row, under traffic: what all of them admit loses no packet, what all of them deny passes
//! none, and the kernel has its memory back.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{ArrayOfMaps, Map, MapData, loaded_maps};
use lab::{Fwx, Host, Lab, Mode, peers::pair::Pair, policy, wait};

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
/// How often the policy changes.
const TIMES: u32 = 1000;
/// Changes before memory is looked at: by then everything is there that is only made once.
const BEFORE: u32 = 50;
/// Datagrams between two looks at what arrived: fewer than any queue on their way has room for.
const BURST: u64 = 32;
/// Between two bursts: the policies need a processor too.
const PAUSE: Duration = Duration::from_micros(500);
/// How long a datagram may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events that the controller remembers take some of this.
const GROWTH_MAX: u64 = 48 << 20;

/// Two policies that say the same of the traffic, by other rules and of another size.
fn policies() -> [String; 2] {
    let admitted = [("data", "data"), ("pages", "web")];
    let mut other = vec![("never-1", "rtsp"), ("pages", "web"), ("other", "data")];
    other.extend((2..200).map(|_| ("never", "ssh")));
    let text = policy::by_rules(&INTERFACES, &other);
    let mut number = 1;
    let distinct = text.lines().map(|line| match line {
        "name = \"never\"" => {
            number += 1;
            format!("name = \"never-{number}\"\n")
        }
        line => format!("{line}\n"),
    });
    [policy::by_rules(&INTERFACES, &admitted), distinct.collect()]
}

fn udp(host: &Host, port: u16) -> UdpSocket {
    let at = host.socket_v4(port);
    let socket = host.run(|| UdpSocket::bind(at)).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What was sent.
#[derive(Debug, Default)]
struct Sent {
    admitted: u64,
    denied: u64,
    tcp: u64,
}

/// Sends until `over`, and sees that what is admitted arrives, each datagram once and in order.
fn traffic(lab: &Lab, page: &Pair, over: &AtomicBool) -> Sent {
    let [near, far] = [udp(&lab.client, 5001), udp(&lab.camera, 5000)];
    let [denied, deaf] = [udp(&lab.client, 6001), udp(&lab.camera, 6000)];
    let [data, noise] = [5000, 6000].map(|port| lab.camera.socket_v4(port));
    let mut sent = Sent::default();
    let block = vec![7; 8 << 10];
    let mut heard = vec![0; block.len()];
    while !over.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            near.send_to(&(sent.admitted).to_be_bytes(), data).unwrap();
            denied.send_to(b"noise", noise).unwrap();
            (sent.admitted, sent.denied) = (sent.admitted + 1, sent.denied + 1);
        }
        (&page.near).write_all(&block).unwrap();
        (&page.far).read_exact(&mut heard).unwrap();
        sent.tcp += 1;
        for expected in sent.admitted - BURST..sent.admitted {
            let mut number = [0; 8];
            let len = far.recv(&mut number).expect("an admitted datagram arrives");
            assert_eq!((len, u64::from_be_bytes(number)), (8, expected));
        }
        thread::sleep(PAUSE);
    }
    deaf.set_nonblocking(true).unwrap();
    assert!(deaf.recv(&mut [0]).is_err(), "what is denied arrived");
    far.set_nonblocking(true).unwrap();
    assert!(far.recv(&mut [0]).is_err(), "something arrived twice");
    sent
}

/// What the kernel says it keeps for the instance's tables, in bytes: those that are pinned, and the policies.
fn map_memory(fwx: &Fwx<'_>) -> Result<u64> {
    let directory = lab::traces::pins(fwx.instance()).into_iter().next().context("it is up")?;
    let mut sum = 0;
    for pin in fs::read_dir(directory.join("maps"))? {
        let map = MapData::from_pin(pin?.path())?;
        sum += memlock(&map)?;
    }
    let images = MapData::from_pin(directory.join("maps/IMAGES"))?;
    let images: ArrayOfMaps<MapData, aya::maps::Array<MapData, [u64; 16]>> =
        Map::ArrayOfMaps(images).try_into()?;
    for slot in 0..2 {
        let image = images.get(&slot, 0)?;
        sum += memlock(aya::maps::IterableMap::map(&image))?;
    }
    Ok(sum)
}

/// `memlock` of proc_pid_fdinfo(5), as the kernel's `bpf_map_show_fdinfo` prints it.
fn memlock(map: &MapData) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).context("no memlock")?;
    Ok(line.trim().parse()?)
}

/// Memory that a process has, in bytes (proc_pid_statm(5)).
fn resident(pid: u32) -> Result<u64> {
    let mut text = String::new();
    File::open(Path::new("/proc").join(pid.to_string()).join("statm"))?
        .read_to_string(&mut text)?;
    let pages: u64 = text.split_whitespace().nth(1).context("two figures")?.parse()?;
    Ok(pages * 4096)
}

fn maps_loaded() -> u64 {
    loaded_maps().filter(Result::is_ok).count() as u64
}

#[test]
fn a_thousand_policies_lose_no_packet_and_leave_no_memory_behind() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let policies = policies();
    fwx.run(&policies[0], Mode::Auto).unwrap();
    let files = [0, 1].map(|index| {
        let file = lab.gateway().write_file(&format!("{index}.toml"), &policies[index]).unwrap();
        file.into_os_string().into_string().unwrap()
    });
    let to = lab.camera.socket_v4(80);
    let listener = lab.camera.run(|| TcpListener::bind(to)).unwrap().unwrap();
    let page = Pair::connect(&lab.client, lab.client.socket_v4(0), to, &listener).unwrap();
    let apply = |number: u32| {
        let said = fwx.call(&["apply", &files[number as usize % 2]]).unwrap();
        said.success().with_context(|| format!("change {number}")).unwrap();
    };
    let controller = fwx.status().unwrap().controller.pid.unwrap();
    let measure = || (map_memory(&fwx).unwrap(), maps_loaded(), resident(controller).unwrap());

    let over = AtomicBool::new(false);
    let (sent, before, after) = thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic(&lab, &page, &over));
        (1..=BEFORE).for_each(apply);
        let before = measure();
        (BEFORE + 1..=BEFORE + TIMES).for_each(apply);
        let after = measure();
        over.store(true, Ordering::Relaxed);
        (traffic.join().unwrap(), before, after)
    });
    eprintln!("{sent:?}; maps' memory, maps of the machine, controller: {before:?}, {after:?}");
    assert!(sent.admitted > 0 && sent.tcp > 0);
    // Every packet that was sent is one of those that passed or one of those that were refused, for this reason.
    let drops = wait::until("all drops are counted", || {
        let drops = fwx.status()?.drops;
        ensure!(drops.values().sum::<u64>() >= sent.denied, "{drops:?} of {sent:?}");
        Ok(drops)
    })
    .unwrap();
    assert_eq!(
        drops.into_iter().collect::<Vec<_>>(),
        [("FWX_E_POLICY_RULES_DENIED".to_owned(), sent.denied)]
    );
    assert_eq!(after.0, before.0, "the kernel's memory for maps");
    // Other tests bring firewalls up meanwhile; a policy that was left would be one of a thousand.
    assert!(after.1 < before.1 + u64::from(TIMES) / 2, "{before:?}, {after:?}");
    assert!(after.2 < before.2 + GROWTH_MAX, "{before:?}, {after:?}");
}
