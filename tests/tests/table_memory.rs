//! What the kernel's tables take of its memory: since Linux 6.4 the kernel says it. Kernels before
//! calculate from the sizes of keys and values, so this does not run in them.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use firewall_user::{
    flows::FlowTable,
    memory,
    object::{self, Purpose},
    policy::TableSizes,
    tables::Tables,
};

const SIZES: TableSizes = TableSizes { completed: 100_000, half_open: 4096 };

fn tables(sizes: TableSizes) -> Tables {
    let ebpf = object::create(Purpose::Bench, sizes).expect("tables can be created");
    Tables::of_loaded(&ebpf).expect("they can be opened")
}

/// What the kernel says that a table takes.
fn memory_of(tables: &Tables, table: FlowTable) -> u64 {
    let data = tables.data(table.map()).unwrap();
    let fd = data.fd().as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let line =
        info.lines().find_map(|line| line.strip_prefix("memlock:")).expect("each table says it");
    line.trim().parse().unwrap()
}

#[test]
fn the_memory_that_is_told_is_what_the_kernel_takes() {
    for sizes in [SIZES, TableSizes { completed: 300_000, half_open: 65_536 }] {
        let tables = tables(sizes);
        let taken: u64 = FlowTable::ALL.iter().map(|table| memory_of(&tables, *table)).sum();
        let told = memory::flow_tables(sizes);
        let difference = taken.abs_diff(told);
        assert!(difference * 100 < taken, "{told} told, {taken} taken");
    }
}
