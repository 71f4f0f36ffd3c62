//! Emptying the tables of loaded programs: they are then as if the programs had just been loaded, without the
//! verifier's work.
//!
//! What is emptied are all maps of the object and not a list of them, so that a new one cannot be forgotten. The
//! commands are those of bpf(2) with keys and values of any size (`union bpf_attr` in `include/uapi/linux/bpf.h`).

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    ptr,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    maps::{Map, MapData},
    util::nr_cpus,
};

const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;

/// Entries of an array that are written at once.
const BATCH: u32 = 4096;
/// Values of a per-CPU map are padded to a multiple of this many bytes for each CPU.
const PER_CPU_ALIGNMENT: usize = 8;

/// Empties every table of `ebpf`. Programs must not run meanwhile. What the tables only refer to
/// stays: programs and event rings.
///
/// # Errors
///
/// When the kernel refuses, or the object has a map of a type that nobody has said how to empty.
pub fn empty(ebpf: &Ebpf) -> Result<()> {
    for (name, map) in ebpf.maps() {
        match map {
            // Constants of the programs.
            Map::Array(_) if name.starts_with(".rodata") => Ok(()),
            Map::Array(_) if name.starts_with(".data") => bail!("nobody knows how it began"),
            Map::Array(data) => zero_array(data),
            Map::PerCpuArray(data) => zero_per_cpu_array(data),
            Map::HashMap(data) | Map::LruHashMap(data) | Map::DevMapHash(data) => remove_all(data),
            Map::ArrayOfMaps(data) => forget_inner_maps(data),
            Map::PerfEventArray(_) | Map::ProgramArray(_) | Map::RingBuf(_) => Ok(()),
            other => bail!("the table {name} is of a type that cannot be emptied: {other:?}"),
        }
        .with_context(|| format!("cannot empty the kernel's table {name}"))?;
    }
    Ok(())
}

fn zero_array(data: &MapData) -> Result<()> {
    let info = data.info()?;
    let room = info.max_entries().min(BATCH);
    let values = vec![0_u8; info.value_size() as usize * room as usize];
    let mut first = 0;
    while first < info.max_entries() {
        let count = room.min(info.max_entries() - first);
        let keys: Vec<u32> = (first..first + count).collect();
        let mut attributes = Batch {
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count,
            map_fd: raw(data.fd().as_fd()),
            ..Batch::default()
        };
        // SAFETY: the kernel reads `count` keys and values, and writes how many it took to the attributes.
        unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attributes) }?;
        ensure!(attributes.count == count, "{} of {count} entries were written", attributes.count);
        first += count;
    }
    Ok(())
}

fn zero_per_cpu_array(data: &MapData) -> Result<()> {
    let info = data.info()?;
    let cpus = nr_cpus().map_err(|(file, error)| io::Error::other(format!("{file}: {error}")))?;
    let padded = (info.value_size() as usize).next_multiple_of(PER_CPU_ALIGNMENT);
    let values = vec![0_u8; padded * cpus];
    for key in 0..info.max_entries() {
        let mut attributes = Element {
            map_fd: raw(data.fd().as_fd()),
            key: ptr::from_ref(&key) as u64,
            value: values.as_ptr() as u64,
            ..Element::default()
        };
        // SAFETY: the kernel reads a key of four bytes and a padded value for each possible CPU.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attributes) }?;
    }
    Ok(())
}

/// Lets go of every map that an array of maps refers to.
fn forget_inner_maps(data: &MapData) -> Result<()> {
    for key in 0..data.info()?.max_entries() {
        let mut attributes = Element {
            map_fd: raw(data.fd().as_fd()),
            key: ptr::from_ref(&key) as u64,
            ..Element::default()
        };
        // SAFETY: the kernel reads a key of four bytes.
        match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attributes) } {
            // There was none.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Removes every entry of a hash table: each after the next one is known.
fn remove_all(data: &MapData) -> Result<()> {
    let fd = raw(data.fd().as_fd());
    let mut key = vec![0_u8; data.info()?.key_size() as usize];
    let mut next = key.clone();
    let mut is_one = next_key(fd, None, &mut key)?;
    while is_one {
        is_one = next_key(fd, Some(&key), &mut next)?;
        let mut attributes = Element { map_fd: fd, key: key.as_ptr() as u64, ..Element::default() };
        // SAFETY: the kernel reads a key, of the size that it told.
        unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attributes) }?;
        std::mem::swap(&mut key, &mut next);
    }
    Ok(())
}

/// Writes the key behind `key`, or the first one, to `next`. `false`: there is none.
fn next_key(map_fd: u32, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attributes = Element {
        map_fd,
        key: key.map_or(0, |key| key.as_ptr() as u64),
        value: next.as_mut_ptr() as u64,
        ..Element::default()
    };
    // SAFETY: the kernel reads one key and writes another, both of the size that it told.
    match unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &mut attributes) } {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What bpf(2) takes for the commands on one entry.
#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    /// Or the next key.
    value: u64,
    flags: u64,
}

/// What it takes for the commands on batches.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Calls bpf(2).
///
/// # Safety
///
/// `attributes` are those of `command`, and what they point to is as large as the map's entries ask for.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<()> {
    // SAFETY: the kernel reads and writes no more of the attributes than their size, the rest is the caller's word.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
