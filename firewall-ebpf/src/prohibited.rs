//! Answering a packet that a rule rejects and that is not TCP by an ICMP error, out of the frame that is at hand:
//! [`firewall_common::prohibited`] says what it looks like.
//!
//! A packet that came in is answered from an address of this machine at its interface, as a router does. One that this
//! machine itself sends is answered as if from where it goes to: what comes in from an own address the kernel takes for
//! forged.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::bpf_csum_diff,
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    bound::masked,
    classifier::Lines as _,
    layout::{Counter, Hook, Verdict},
    limit::SECOND,
    prohibited::{
        IPV4_HEADERS_LEN, IPV6_HEADERS_LEN, QUOTE_MAX, headers_v4, headers_v6, is_answerable,
        once_finished, quote_len,
    },
    reset,
    wire::{checksum::Sum, ip_protocol},
};

use crate::{
    atomic::change_bucket,
    frame::{Frame, TcFrame, XdpFrame},
    judge::Policy,
    maps::{OWN_ADDRESSES, REJECTS},
    read::within_chunk,
    report,
    work::{CHUNK, Work},
};

/// Ethernet header and two tags, the most that there may be before an IP header.
const LINK_LEN: usize = 14 + 2 * 4;
/// Offset of the checksum in a UDP header (RFC 768).
const UDP_CHECKSUM: u32 = 6;
/// Chunks of the longest quotation.
const CHUNKS: u32 = QUOTE_MAX.div_ceil(CHUNK as u32);

/// Answers the refused packet on the desk if that may be, and otherwise drops it. Returns the program's return value.
#[inline(always)]
pub fn answer<F: Frame>(frame: &F, work: &mut Work) -> i32 {
    if frame.become_error(work) {
        report::replayed(work, Verdict::Reject);
        frame.send_back(work.hook)
    } else {
        report::replayed(work, Verdict::Drop);
        F::DROP
    }
}

/// [`become_error`] as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn become_error_xdp(context: *mut xdp_md, work: *mut Work) -> u32 {
    let frame = XdpFrame::without_headers(XdpContext::new(context));
    Work::passed(work).map_or(0, |work| u32::from(become_error(&frame, work)))
}

/// As [`become_error_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn become_error_tc(context: *mut __sk_buff, work: *mut Work) -> u32 {
    let frame = TcFrame::without_headers(TcContext::new(context));
    Work::passed(work).map_or(0, |work| u32::from(become_error(&frame, work)))
}

/// Turns the frame into the answer, and counts what became of it. `false`: there is none.
#[inline(always)]
fn become_error<F: Frame>(frame: &F, work: &mut Work) -> bool {
    let mut link = [0; LINK_LEN];
    if work.packet.ip_offset == 0 {
        // The kernel's helper makes room for a link's header only, which there is none of.
        report::count(Counter::RejectsFailed, 1);
        return false;
    }
    // SAFETY: it has that length.
    if !unsafe { frame.load(0, link.as_mut_ptr(), LINK_LEN as u32) } {
        report::count(Counter::RejectsFailed, 1);
        return false;
    }
    let [hardware_destination, ..] = link;
    if is_silent(work, u32::from(hardware_destination)) != 0 {
        return false;
    }
    let written = write(frame, work, link).is_some();
    let outcome = if written { Counter::RejectsAnswered } else { Counter::RejectsFailed };
    report::count(outcome, 1);
    written
}

/// Whether the packet gets no answer, which is counted; 0: it gets one. A function that the verifier knows by its
/// signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_silent(work: *mut Work, hardware_destination: u32) -> u32 {
    let Some(work) = Work::passed(work) else {
        return 1;
    };
    let why = if !is_answerable(&work.packet, hardware_destination as u8) {
        Counter::RejectsUnanswerable
    } else if source(work).is_none() {
        Counter::RejectsWithoutAddress
    } else if !is_within_limit(work) {
        Counter::RejectsLimited
    } else {
        return 0;
    };
    report::count(why, 1);
    1
}

/// The address that the answer comes from. `None`: this machine has none.
#[inline(always)]
fn source(work: &Work) -> Option<[u32; 4]> {
    if matches!(work.hook, Hook::Egress) {
        return Some(work.packet.destination);
    }
    // SAFETY: the addresses are read at once.
    let own = unsafe { OWN_ADDRESSES.get(work.interface) }?;
    let source = if work.packet.version == 4 { [own.v4, 0, 0, 0] } else { own.v6 };
    let [a, b, c, d] = source;
    (a | b | c | d != 0).then_some(source)
}

/// Whether there may be one answer more. All CPUs share one bucket.
#[inline(always)]
fn is_within_limit(work: &Work) -> bool {
    let Some(policy) = Policy::of(work) else {
        return false;
    };
    let (Some(head), Some(bucket)) = (policy.head(), REJECTS.get_ptr_mut(0)) else {
        return false;
    };
    let max = head.reject_per_second;
    // SAFETY: map values stay readable and writable for as long as the program runs.
    let bucket = unsafe { &mut *bucket };
    change_bucket(bucket, |bucket| bucket.fill(work.now, max, SECOND)).is_some()
}

/// `None`: the kernel would not have it, and the frame may be half written.
#[inline(always)]
fn write<F: Frame>(frame: &F, work: &mut Work, link: [u8; LINK_LEN]) -> Option<()> {
    let source = source(work)?;
    let ip = u32::from(work.packet.ip_offset);
    let end = ip + quote_len(&work.packet);
    done(frame.truncate(end))?;
    let quote = sum_of_quote(frame, work, end)?;
    let is_v4 = work.packet.version == 4;
    let room = if is_v4 { IPV4_HEADERS_LEN } else { IPV6_HEADERS_LEN };
    done(frame.grow_head(room as u32))?;
    // With it goes what lies behind a shorter one, where the IP header will be.
    done(frame.store(0, &turned_around(link)))?;
    if is_v4 {
        let [source, ..] = source;
        done(frame.store(ip, &headers_v4(&work.packet, source, quote)))
    } else {
        done(frame.store(ip, &headers_v6(&work.packet, source, quote)))
    }
}

#[inline(always)]
fn done(is_done: bool) -> Option<()> {
    is_done.then_some(())
}

/// The hardware addresses change places; what is behind them stays.
#[inline(always)]
fn turned_around(link: [u8; LINK_LEN]) -> [u8; LINK_LEN] {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, rest @ ..] = link;
    let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9] = rest;
    [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5, r0, r1, r2, r3, r4, r5, r6, r7, r8, r9]
}

/// The sum over the quotation, which ends at `end`, as its reader will see it.
#[inline(always)]
fn sum_of_quote<F: Frame>(frame: &F, work: &mut Work, end: u32) -> Option<Sum> {
    let transport = u32::from(work.packet.transport_offset);
    let transport = if transport < end { transport } else { end };
    let headers = sum(frame, work, u32::from(work.packet.ip_offset), transport)?;
    let quote = Sum::default().in_memory(headers);
    if F::SENT_BACK_KEEPS_PARTIAL_CHECKSUM && work.packet.protocol == ip_protocol::UDP {
        let mut field = [0; 2];
        // SAFETY: it has that length.
        let there = unsafe { frame.load(transport + UDP_CHECKSUM, field.as_mut_ptr(), 2) };
        let field = u16::from_be_bytes(field);
        if there && reset::is_partial(&work.packet, field) {
            return Some(quote.word(once_finished(field)));
        }
    }
    Some(quote.in_memory(sum(frame, work, transport, end)?))
}

/// The sum over the bytes from `at` to `end` as they lie in memory. `at` is an even number of bytes behind where the
/// sum that it goes into began.
#[inline(never)]
fn sum<F: Frame>(frame: &F, work: &mut Work, mut at: u32, end: u32) -> Option<u32> {
    const WORD: u32 = 4;
    let words_end = at + ((end - at) & !(WORD - 1));
    let mut sum = 0;
    for _ in 0..CHUNKS {
        if at >= words_end {
            break;
        }
        let left = words_end - at;
        work.chunk_len = if left < CHUNK as u32 { left } else { CHUNK as u32 };
        let len = within_chunk(&work.chunk_len);
        let chunk = work.chunk.as_mut_ptr();
        // SAFETY: the chunk has CHUNK bytes.
        done(unsafe { frame.load(at, chunk, len) })?;
        sum = added(sum, chunk, len);
        at += len;
    }
    let left = end.wrapping_sub(at) & (WORD - 1);
    if left != 0 {
        let mut rest = [0; WORD as usize];
        let len = masked::<{ WORD as i32 - 1 }>(left as usize - 1) as u32 + 1;
        // SAFETY: what is left is no longer than a word.
        done(unsafe { frame.load(at, rest.as_mut_ptr(), len) })?;
        sum = added(sum, rest.as_mut_ptr(), WORD);
    }
    Some(sum)
}

/// `sum` and the sum over `len` bytes, a multiple of 4.
#[inline(always)]
fn added(sum: u32, bytes: *mut u8, len: u32) -> u32 {
    // SAFETY: the callers vouch for the bytes; the helper reads them only, and nothing from the other pointer.
    unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, bytes.cast(), len, sum) as u32 }
}
