//! Reading a hash table of the kernel, and writing an array, many entries at a time.
//!
//! A look at one key after the other costs two system calls an entry, and begins anew when the key that was
//! read last is removed meanwhile. `BPF_MAP_LOOKUP_BATCH` (bpf(2), `__htab_map_lookup_and_delete_batch` in the
//! kernel's `kernel/bpf/hashtab.c`) copies whole buckets, each under its lock: an entry that is there all the
//! time is read exactly once, whatever else comes and goes. It does not make an entry of an LRU table younger.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use bytemuck::Pod;

/// Entries that are asked for at once.
const ROOM: u32 = 4096;
/// Most that are: no bucket of a table with at most this many entries is larger.
const ROOM_MAX: u32 = 1 << 24;
/// The commands (`enum bpf_cmd` in `include/uapi/linux/bpf.h`).
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;

/// What bpf(2) takes for the commands on batches (`union bpf_attr`, its member `batch`).
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Shows `visit` every entry of a hash table, LRU or not, or of an array, whose keys are `u32`. Memory does not depend on how many there are.
///
/// # Errors
///
/// The table's keys or values are not of the size of `K` and `V`, or the kernel refuses.
pub fn for_each<K: Pod, V: Pod>(table: &MapData, visit: impl FnMut(&K, &V)) -> Result<()> {
    for_each_by(table, ROOM, visit)
}

fn for_each_by<K: Pod, V: Pod>(
    table: &MapData,
    mut room: u32,
    mut visit: impl FnMut(&K, &V),
) -> Result<()> {
    let info = table.info()?;
    let sizes = (info.key_size() as usize, info.value_size() as usize);
    ensure!(
        sizes == (size_of::<K>(), size_of::<V>()),
        "a table of the kernel's has keys and values of {sizes:?} bytes, not {:?}",
        (size_of::<K>(), size_of::<V>())
    );
    let mut keys = vec![K::zeroed(); room as usize];
    let mut values = vec![V::zeroed(); room as usize];
    let mut begin = None;
    loop {
        let (read, count, next) = read(table.fd().as_fd(), begin.as_ref(), &mut keys, &mut values);
        let at_end = match read {
            Ok(()) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                Some(libc::EINTR | libc::EAGAIN) => continue,
                // The next bucket has more entries than there is room for.
                Some(libc::ENOSPC) if room < ROOM_MAX => {
                    room *= 2;
                    keys.resize(room as usize, K::zeroed());
                    values.resize(room as usize, V::zeroed());
                    continue;
                }
                _ => return Err(error).context("cannot read a table of the kernel's"),
            },
        };
        for (key, value) in keys.iter().zip(&values).take(count) {
            visit(key, value);
        }
        if at_end {
            return Ok(());
        }
        begin = Some(next);
    }
}

/// Reads one batch, which begins at bucket `begin`. Returns how many entries were read, also with an error, and
/// where the next begins.
fn read<K: Pod, V: Pod>(
    table: BorrowedFd<'_>,
    begin: Option<&u32>,
    keys: &mut [K],
    values: &mut [V],
) -> (io::Result<()>, usize, u32) {
    let mut next = 0_u32;
    let room = keys.len().min(values.len());
    let mut attributes = Attributes {
        in_batch: begin.map_or(0, |begin| std::ptr::from_ref(begin) as u64),
        out_batch: std::ptr::from_mut(&mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: room as u32,
        map_fd: table.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel writes at most `count` keys and values of the sizes that the caller compared with the
    // table's, a bucket's number, and `count` in the attributes; any bytes are a key or a value.
    let result = unsafe { call(BPF_MAP_LOOKUP_BATCH, &mut attributes) };
    (result, (attributes.count as usize).min(room), next)
}

/// Writes `values` into an array of the kernel's, from entry `first` on.
///
/// # Errors
///
/// The array's values are not of the size of `V`, it has no room for all, or the kernel refuses.
pub fn write<V: Pod>(array: &MapData, first: u32, values: &[V]) -> Result<()> {
    let info = array.info()?;
    let value_size = info.value_size() as usize;
    ensure!(
        value_size == size_of::<V>()
            && first as usize + values.len() <= info.max_entries() as usize,
        "an array of the kernel's has {} values of {value_size} bytes: {} of {} bytes from {first} on do not fit",
        info.max_entries(),
        values.len(),
        size_of::<V>()
    );
    let keys: Vec<u32> = (first..).take(values.len()).collect();
    let mut written = 0;
    while written < keys.len() {
        let (keys, values) = (&keys[written..], &values[written..]);
        let mut attributes = Attributes {
            in_batch: 0,
            out_batch: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: keys.len() as u32,
            map_fd: array.fd().as_fd().as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads `count` keys and values of the array's sizes, and writes `count`.
        let result = unsafe { call(BPF_MAP_UPDATE_BATCH, &mut attributes) };
        written += (attributes.count as usize).min(keys.len());
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) | Err((Some(libc::EINTR | libc::EAGAIN), _)) => {}
            Err((_, error)) => return Err(error).context("cannot write a table of the kernel's"),
        }
    }
    Ok(())
}

/// # Safety
///
/// What the attributes point to is what the command takes.
unsafe fn call(command: libc::c_int, attributes: &mut Attributes) -> io::Result<()> {
    let attributes = std::ptr::from_mut(attributes);
    // SAFETY: the caller's to see to.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<Attributes>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
