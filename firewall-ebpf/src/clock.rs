//! What time it is, and on which interface: the kernel's word, or in replay the capture's.

use aya_ebpf::{Global, helpers::bpf_ktime_get_coarse_ns};
use firewall_common::layout::ReplayInput;

use crate::maps::REPLAY_INPUT;

/// 1 when the programs were loaded for replay. Read-only once loaded, so the verifier removes the branch
/// that is not taken.
#[unsafe(no_mangle)]
static REPLAY: Global<u8> = Global::new(0);

/// Whether the programs run in replay.
#[inline(always)]
pub fn in_replay() -> bool {
    REPLAY.load() != 0
}

/// Nanoseconds, coarse: the tick before now, which is enough for timeouts and costs no clock read.
#[inline(always)]
pub fn now() -> u64 {
    if in_replay() {
        return replay_input().now;
    }
    // SAFETY: the helper takes nothing and reads a kernel variable.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The interface a packet is on.
#[inline(always)]
pub fn interface(of_context: u32) -> u32 {
    if in_replay() { replay_input().interface } else { of_context }
}

#[inline(always)]
fn replay_input() -> ReplayInput {
    REPLAY_INPUT.get(0).copied().unwrap_or_default()
}
