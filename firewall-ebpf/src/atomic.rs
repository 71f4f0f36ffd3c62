//! Changing a word that another CPU may change at the same time.
//!
//! The BPF target declares no compare-exchange, so that core's atomics lack it, but the instruction is there
//! since Linux 5.12: the compiler's own intrinsic makes it.

use core::ffi::c_void;
use core::intrinsics::{
    AtomicOrdering::{Relaxed, SeqCst},
    atomic_cxchg, atomic_xadd, atomic_xchg,
};

use aya_ebpf::helpers::bpf_loop;
use firewall_common::{
    flow::{Flow, State},
    limit::Bucket,
};

/// How often a change is tried again that another CPU was faster with.
const ATTEMPTS: u32 = 4;

/// Moves the flow from state `from` to `to`. `false`: it is not in `from` any more, and stays as it is.
#[inline(always)]
pub fn change_state(flow: &mut Flow, from: State, to: State) -> bool {
    let (rule, end) = (flow.rule, flow.originator_is_second);
    change_head(flow, [from as u8, end], rule, [to as u8, end], rule)
}

/// Makes the flow the tombstone of the kill with this number, which was told, whatever state another CPU has just moved
/// it to.
///
/// The number is written first, so that who finds a tombstone finds its cause. Who finds the number in a flow that a
/// connection announced, and that still lives, makes it a tombstone too, see
/// [`goes_on`](crate::pinholes::goes_on).
#[inline(always)]
pub fn entomb(flow: &mut Flow, number: u64, now: u64) {
    flow.last_seen = now;
    write_first(&mut flow.kin, number);
    // SAFETY: a reference is valid to write to. Volatile, so that the compiler writes it here.
    unsafe { (&raw mut flow.state).write_volatile(State::Killed as u8) }
}

/// The number of the kill that made the flow a tombstone; 0 while it lives.
#[inline(always)]
pub fn killed_by(flow: &mut Flow) -> u64 {
    if flow.state() == State::Killed { read_last(&mut flow.kin) } else { 0 }
}

/// Writes a word that every CPU sees before what is written after it: atomic instructions that return what was there
/// are full barriers (Linux' Documentation/atomic_t.txt, "ORDERING"), also where the CPU orders weakly.
#[inline(always)]
pub fn write_first(word: &mut u64, value: u64) {
    // SAFETY: a reference is valid, and a u64 is aligned.
    let _ = unsafe { atomic_xchg::<u64, { SeqCst }>(word, value) };
}

/// Reads a word after what was read before, the other side of [`write_first`].
#[inline(always)]
pub fn read_last(word: &mut u64) -> u64 {
    // SAFETY: as above.
    unsafe { atomic_xadd::<u64, u64, { SeqCst }>(word, 0) }
}

/// Gives the flow, which is in `state`, another rule. `false`: it is not in that state any more, and stays as it is.
#[inline(always)]
pub fn change_rule(flow: &mut Flow, state: State, rule: u16) -> bool {
    let (before, end) = (flow.rule, flow.originator_is_second);
    change_head(flow, [state as u8, end], before, [state as u8, end], rule)
}

/// Changes the word that begins with the state: with which end began, which never changes, and with the rule, which
/// a new policy may change at any time.
#[inline(always)]
fn change_head(flow: &mut Flow, from: [u8; 2], from_rule: u16, to: [u8; 2], to_rule: u16) -> bool {
    const { assert!(core::mem::offset_of!(Flow, state) % 4 == 0) };
    const { assert!(core::mem::offset_of!(Flow, protocol) == core::mem::offset_of!(Flow, state) + 4) };
    let head = |[state, end]: [u8; 2], rule: u16| {
        let [rule, rule_end] = rule.to_ne_bytes();
        u32::from_ne_bytes([state, end, rule, rule_end])
    };
    let word = core::ptr::from_mut(&mut flow.state).cast::<u32>();
    let (old, new) = (head(from, from_rule), head(to, to_rule));
    // SAFETY: the state begins an aligned word of the flow.
    let (_, changed) = unsafe { atomic_cxchg::<u32, { SeqCst }, { SeqCst }>(word, old, new) };
    changed
}

/// Takes what one CPU may work on at a time, and waits a little for another one that does. `false`: that one took
/// longer.
#[inline(always)]
pub fn claim(word: &mut u64) -> bool {
    /// A segment of media is read in the time of some ten tries, one of text in that of some thousand.
    const TRIES: u32 = 4096;
    if try_to_claim(word) {
        return true;
    }
    let mut claiming = Claiming { word, done: false };
    let context = (&raw mut claiming).cast();
    // SAFETY: the callback has the signature that the helper wants and gets the context it expects.
    unsafe { bpf_loop(TRIES, claim_once as *mut c_void, context, 0) };
    claiming.done
}

/// What the loop over the tries works with.
struct Claiming<'a> {
    word: &'a mut u64,
    done: bool,
}

/// One round: tries once.
extern "C" fn claim_once(_round: u64, context: *mut c_void) -> u64 {
    // SAFETY: `claim` passes its own claiming.
    let Claiming { word, done } = unsafe { &mut *context.cast::<Claiming<'_>>() };
    *done = try_to_claim(word);
    u64::from(*done)
}

#[inline(always)]
fn try_to_claim(word: &mut u64) -> bool {
    // SAFETY: a reference is valid, and a u64 is aligned.
    let (_, claimed) = unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(word, 0, 1) };
    claimed
}

/// Gives back what [`claim`] took.
#[inline(always)]
pub fn release(word: &mut u64) {
    // SAFETY: as above. Not a plain store: what was written before has to be seen before it.
    let _ = unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(word, 1, 0) };
}

/// Adds to a number that other CPUs add to as well.
#[inline(always)]
pub fn add(word: &mut u64, by: u64) {
    // SAFETY: a reference is valid, and a u64 is aligned.
    let _ = unsafe { atomic_xadd::<u64, u64, { Relaxed }>(word, by) };
}

/// Changes a bucket. Returns what `change` said about the level that was changed: `None` if it refused.
#[inline(always)]
pub fn change_bucket(word: &mut u64, change: impl Fn(Bucket) -> Option<Bucket>) -> Option<()> {
    let word = core::ptr::from_mut(word);
    for _ in 0..ATTEMPTS {
        // SAFETY: a reference is valid to read from; another CPU may write it meanwhile, as a whole.
        let old = unsafe { word.read_volatile() };
        let new = change(Bucket { empty_at: old })?.empty_at;
        // SAFETY: as above.
        let (_, changed) = unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(word, old, new) };
        if changed {
            break;
        }
    }
    // One that other CPUs would not let in between so often goes uncounted.
    Some(())
}
