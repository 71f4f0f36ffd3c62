//! Events in a file: on a disk that fills up, and while others rotate it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use lab::{ExportStatus, Fwx, Lab, Mode, mounts, policy, wait};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

/// Room for some three hundred lines.
const DISK: &str = "size=128k";
const LINES: u64 = 1_500;

/// A directory with a small disk of its own, seen by this thread and what it starts, and gone with them.
fn small_disk(lab: &Lab) -> Result<PathBuf> {
    let directory = lab.gateway().make_directory("disk")?;
    mounts::have_own()?;
    mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), Some(DISK))?;
    Ok(directory)
}

fn export(fwx: &Fwx) -> Result<ExportStatus> {
    fwx.exports()?.into_iter().next().context("status shows no export")
}

/// The numbers of the events in the file, whose lines all are whole.
fn read(file: &Path) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.ends_with('\n'), "the last line is torn: {:?}", text.lines().last());
    let number = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| {
            panic!("not a line of JSON ({error}): {line}");
        });
        event["event_id"].as_u64().unwrap()
    };
    text.lines().map(number).collect()
}

#[test]
fn a_full_disk_tears_no_line_and_what_has_no_room_waits_for_it() {
    let lab = Lab::single().unwrap();
    let disk = small_disk(&lab).unwrap();
    let file = disk.join("events.json");
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let export_section = format!(
        "[export.file]\nkind = \"json\"\nfile = {file:?}\nwhere = {{ event = [\"packet_dropped\"], \
         reason = [\"internal_dropped\"] }}\n"
    );
    fwx.run(&(policy::cameras(&["lan0", "wan0"], "standard") + &export_section), Mode::Auto)
        .unwrap();
    fwx.publish((1..=LINES).map(|event_id| {
        json!({
            "timestamp": "2026-01-02T03:04:05.000000006Z", "event": "packet_dropped",
            "event_id": event_id, "reason": "FWX_E_INTERNAL_DROPPED", "message": "x\n".repeat(100),
        })
    }))
    .unwrap();

    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    let mut full = 0;
    while (times.len() as u64) < LINES {
        let status = wait::until("the disk is full, or all is written", || {
            let status = export(&fwx)?;
            ensure!(status.failure.is_some() || status.sent == LINES, "{status:?}");
            Ok(status)
        })
        .unwrap();
        if let Some(failure) = status.failure {
            let is_room = failure.ends_with(": there is no room for a whole line")
                || failure.contains(": No space left on device");
            assert!(is_room, "{failure}");
            full += 1;
        }
        // As logrotate does it: what is being written at this moment goes to the one that was moved.
        let moved = disk.join("events.json.1");
        fs::rename(&file, &moved).unwrap();
        let numbers = read(&moved);
        assert!(!numbers.is_empty());
        numbers.into_iter().for_each(|number| *times.entry(number).or_default() += 1);
        fs::remove_file(moved).unwrap();
        let before = status.sent;
        wait::until("there is room again", || {
            let status = export(&fwx)?;
            ensure!(status.sent > before || status.sent == LINES, "{status:?}");
            Ok(())
        })
        .unwrap();
    }
    assert!(full >= 2, "the disk was full {full} times");
    assert!(times.keys().copied().eq(1..=LINES));
    assert!(times.values().all(|times| *times == 1), "each once");
    let status = export(&fwx).unwrap();
    assert_eq!((status.sent, status.failed, status.lost, status.failure), (LINES, 0, 0, None));
}
