//! Reading the kernel's tables in batches.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use aya::maps::HashMap;
use firewall_common::flow::{Flow, KeyV4, KeyV6};
use firewall_user::{
    batch,
    flows::FlowTable,
    object::{self, PINNED_MAPS, Purpose},
    policy::TableSizes,
    tables::Tables,
};

const SIZES: TableSizes = TableSizes { completed: 100_000, half_open: 4096 };

fn tables(sizes: TableSizes) -> Tables {
    let ebpf = object::create(Purpose::Bench, sizes).expect("tables can be created");
    assert!(PINNED_MAPS.contains(&"FLOWS_V4"));
    Tables::of_loaded(&ebpf).expect("they can be opened")
}

fn key(number: u32) -> KeyV4 {
    KeyV4 { addresses: [number, number.wrapping_mul(7)], ports: [1, 2], protocol: 6 }
}

fn fill(tables: &Tables, range: std::ops::Range<u32>) {
    let mut flows: HashMap<_, KeyV4, Flow> = tables.flows_v4().unwrap();
    for number in range {
        let flow = Flow { id: number.into(), ..Flow::default() };
        flows.insert(key(number), flow, 0).unwrap();
    }
}

#[test]
fn every_entry_is_read_once() {
    let tables = tables(SIZES);
    let data = tables.data("FLOWS_V4").unwrap();
    for wanted in [0, 1, 90_000] {
        fill(&tables, 0..wanted);
        let mut seen = HashSet::new();
        batch::for_each(&data, |read: &KeyV4, flow: &Flow| {
            assert_eq!(*read, key(flow.id as u32));
            assert!(seen.insert(flow.id), "{} twice", flow.id);
        })
        .unwrap();
        assert_eq!(seen.len(), wanted as usize);
    }
    let mut entries = 0;
    tables.each_entry(FlowTable::CompletedV4, |_| entries += 1).unwrap();
    assert_eq!((entries, tables.size(FlowTable::CompletedV4).unwrap()), (90_000, 100_000));
    let wrong = batch::for_each(&data, |_: &KeyV6, _: &Flow| {});
    assert!(wrong.is_err(), "keys of another size");
}

#[test]
fn what_stays_is_read_while_other_entries_come_and_go() {
    const STAY: u32 = 20_000;
    let tables = tables(SIZES);
    fill(&tables, 0..STAY);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut flows: HashMap<_, KeyV4, Flow> = tables.flows_v4().unwrap();
            for number in (STAY..2 * STAY).cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                flows.insert(key(number), Flow::default(), 0).unwrap();
                // Half of them stay until the next round.
                if number % 2 == 0 {
                    flows.remove(&key(number)).unwrap();
                }
            }
        });
        for _ in 0..50 {
            let mut staying = HashSet::new();
            tables
                .each_entry(FlowTable::CompletedV4, |entry| {
                    if entry.flow.id != 0 {
                        assert!(staying.insert(entry.flow.id), "{} twice", entry.flow.id);
                    }
                })
                .unwrap();
            assert_eq!(staying.len(), STAY as usize - 1, "all but number 0");
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Not a limit that a busy machine could miss: it prints what it took.
#[test]
fn a_million_flows_are_read() {
    const FLOWS: u32 = 1_000_000;
    let tables = tables(TableSizes { completed: 1 << 20, half_open: 1024 });
    fill(&tables, 0..FLOWS);
    let started = Instant::now();
    let mut entries = 0;
    tables.each_entry(FlowTable::CompletedV4, |_| entries += 1).unwrap();
    eprintln!("a million flows read in {:?}", started.elapsed());
    assert_eq!(entries, FLOWS);
}
