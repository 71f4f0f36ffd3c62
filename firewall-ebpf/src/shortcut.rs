//! Past the kernel's stack: a packet of a proven flow goes from the XDP program straight to the other interface.
//! [`firewall_common::shortcut`] says which, [`firewall_common::flow::Passage`] how a flow is proven.

use aya_ebpf::{
    bindings::{
        bpf_fib_lookup, bpf_fib_lookup__bindgen_ty_1, bpf_fib_lookup__bindgen_ty_2,
        bpf_fib_lookup__bindgen_ty_3, bpf_fib_lookup__bindgen_ty_4, bpf_fib_lookup__bindgen_ty_5,
        xdp_action, xdp_md,
    },
    helpers::bpf_fib_lookup as look_up_route,
};
use firewall_common::{
    flow::Flow,
    layout::Hook,
    shortcut::{
        ETHERNET_LEN, Facts, IPV4_LEN, IPV6_LEN, LongWay, is_meant, is_plain, obstacle,
        one_hop_less, routed,
    },
    wire::{Fragment, Packet, ip_protocol},
};

use crate::{
    filter, judge,
    maps::{DEVICES, INTERFACES, LONG_WAYS, SHORTCUT},
    report,
    work::{Decision, Work},
};

/// `AF_INET` and `AF_INET6` of the kernel.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// How a packet goes on that passes, of a flow with an answer, and of which there is nothing to be said.
///
/// While the policy has no shortcut, no flow is proven, and this is a look at what is at hand.
#[inline(always)]
pub fn onward(work: &mut Work, flow: &Flow) -> Decision {
    let way = flow.proven_way(work.direction, work.interface, work.now);
    if way.is_none() && !flow.is_noted(work.direction) {
        return Decision::Pass;
    }
    Decision::from_raw(prove(work, flow, way.unwrap_or(NOT_PROVEN)))
}

/// No interface has this index.
const NOT_PROVEN: u32 = 0;

/// The rest of [`onward`], as a function that the verifier walks once: the packet takes the shortcut if its flow is
/// proven, and otherwise is noted.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn prove(work: *mut Work, flow: *const Flow, leaves_by: u32) -> u32 {
    // SAFETY: the caller passes references, or so the verifier will not believe: hence the check.
    let (Some(work), Some(flow)) = (Work::passed(work), unsafe { flow.as_ref() }) else {
        return Decision::Pass as u32;
    };
    if !may(work, flow) {
        return Decision::Pass as u32;
    }
    if leaves_by == NOT_PROVEN {
        // What becomes of it says whether those behind it may.
        work.note_flow(flow);
        work.told.crosses = 1;
        return Decision::Pass as u32;
    }
    work.leaves_by = leaves_by;
    Decision::Forward as u32
}

/// Whether the policy and the flow let the packet on the desk.
#[inline(always)]
fn may(work: &mut Work, flow: &Flow) -> bool {
    // What follows a first fragment follows what is decided about it.
    matches!(work.hook, Hook::Ingress)
        && work.packet.fragment == Fragment::Whole
        && SHORTCUT.get(0).is_some_and(|allowed| is_meant(*allowed, &work.packet))
        && flow.may_be_short_cut(flow.state())
        && !work.by_alias
        && !is_read(work, flow)
}

/// Whether a filter reads the flow. That the packet passes is decided, so a policy that is put in force just now may
/// have its say.
#[inline(always)]
fn is_read(work: &mut Work, flow: &Flow) -> bool {
    judge::note_policy(work);
    filter::is_bound(work, u32::from(flow.protocol))
}

/// Sends the frame on, or returns `XDP_PASS`, with nothing of it changed. A function of its own for the
/// verifier's sake.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward(context: *mut xdp_md, work: *mut Work) -> u32 {
    let Some(work) = Work::passed(work) else {
        return xdp_action::XDP_PASS;
    };
    match forwarded(context, work) {
        Ok(()) => {
            report::short_cut(work);
            xdp_action::XDP_REDIRECT
        }
        Err(why) => {
            if let Some(count) = LONG_WAYS.get_ptr_mut(why as u32) {
                // SAFETY: the entry is this CPU's alone.
                unsafe { *count += 1 }
            }
            xdp_action::XDP_PASS
        }
    }
}

#[inline(always)]
fn forwarded(context: *mut xdp_md, work: &Work) -> Result<(), LongWay> {
    if !is_plain(&work.packet, work.frame_len) {
        return Err(LongWay::Form);
    }
    // SAFETY: the context is the program's own.
    let (start, end) = unsafe { ((*context).data as usize, (*context).data_end as usize) };
    let frame = Linear { start, end };
    if end - start != work.frame_len as usize {
        return Err(LongWay::Pieces);
    }
    if work.packet.version == 4 {
        forwarded_v4(context, &frame, work)
    } else {
        forwarded_v6(context, &frame, work)
    }
    .unwrap_or(Err(LongWay::Pieces))
}

/// Offsets in a frame with an IPv4 packet (RFC 791 §3.1).
const IPV4_SERVICE: usize = ETHERNET_LEN as usize + 1;
const IPV4_HOPS: usize = ETHERNET_LEN as usize + 8;
const IPV4_CHECKSUM: usize = ETHERNET_LEN as usize + 10;
const IPV4_END: usize = ETHERNET_LEN as usize + IPV4_LEN as usize;

/// `None`: the frame ends before its headers do.
#[inline(always)]
fn forwarded_v4(context: *mut xdp_md, frame: &Linear, work: &Work) -> Option<Result<(), LongWay>> {
    let [service] = frame.read(IPV4_SERVICE)?;
    let [hops, protocol] = frame.read(IPV4_HOPS)?;
    let checksum = u16::from_be_bytes(frame.read(IPV4_CHECKSUM)?);
    let class = u32::from_ne_bytes([service, 0, 0, 0]);
    let next = match next_hop::<IPV4_END>(context, frame, work, hops, AF_INET, class)? {
        Ok(next) => next,
        Err(why) => return Some(Err(why)),
    };
    let (hops, checksum) = one_hop_less(hops, protocol, checksum);
    frame.write(IPV4_HOPS, hops)?;
    frame.write(IPV4_CHECKSUM, checksum.to_be())?;
    frame.write(0, next)?;
    Some(Ok(()))
}

/// Offsets in a frame with an IPv6 packet (RFC 8200 §3).
const IPV6_CLASS: usize = ETHERNET_LEN as usize;
const IPV6_HOPS: usize = ETHERNET_LEN as usize + 7;
const IPV6_END: usize = ETHERNET_LEN as usize + IPV6_LEN as usize;

/// As [`forwarded_v4`].
#[inline(always)]
fn forwarded_v6(context: *mut xdp_md, frame: &Linear, work: &Work) -> Option<Result<(), LongWay>> {
    let [version, class, label0, label1] = frame.read(IPV6_CLASS)?;
    let [hops] = frame.read(IPV6_HOPS)?;
    let class = u32::from_ne_bytes([version & 0x0f, class, label0, label1]);
    let next = match next_hop::<IPV6_END>(context, frame, work, hops, AF_INET6, class)? {
        Ok(next) => next,
        Err(why) => return Some(Err(why)),
    };
    frame.write(IPV6_HOPS, hops.wrapping_sub(1))?;
    frame.write(0, next)?;
    Some(Ok(()))
}

/// Hardware addresses of a frame, the receiver's and then the sender's, as it has them.
type Addresses = [[u8; 6]; 2];

/// Asks whether the packet on the desk may go on, whose IP header ends at `IP_END`, and has the frame sent out by
/// the interface that it is to leave by. `class`: what the IP header says of service and flow.
#[inline(always)]
fn next_hop<const IP_END: usize>(
    context: *mut xdp_md,
    frame: &Linear,
    work: &Work,
    hops: u8,
    family: u8,
    class: u32,
) -> Option<Result<Addresses, LongWay>> {
    const UDP_CHECKSUM: usize = 6;
    const TCP_CHECKSUM: usize = 16;
    let checksum = if work.packet.protocol == ip_protocol::TCP {
        frame.read(IP_END + TCP_CHECKSUM)?
    } else {
        frame.read(IP_END + UDP_CHECKSUM)?
    };
    // SAFETY: what another CPU writes meanwhile is an address, too.
    let Some(port) = (unsafe { INTERFACES.get(work.interface) }) else {
        return Some(Err(LongWay::OtherAddress));
    };
    let facts = Facts {
        destination: words(frame.read(0)?),
        own: port.address,
        hops,
        checksum: u16::from_be_bytes(checksum),
    };
    if let Some(why) = obstacle(&work.packet, &facts) {
        return Some(Err(why));
    }
    let mut route = question(&work.packet, work.interface, family, class);
    let len = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context is the program's own, and `route` has the length that is told.
    let answer = unsafe { look_up_route(context.cast(), &raw mut route, len, 0) };
    if let Err(why) = routed(answer, route.ifindex, work.leaves_by) {
        return Some(Err(why));
    }
    if DEVICES.redirect(work.leaves_by, u64::from(xdp_action::XDP_PASS)).is_err() {
        return Some(Err(LongWay::Device));
    }
    Some(Ok([route.dmac, route.smac]))
}

/// What the routing table is asked about a packet that came in by `interface` and is turned around: by which way its
/// source is reached.
#[inline(always)]
pub fn question_back(turned: &Packet, interface: u32) -> bpf_fib_lookup {
    let family = if turned.version == 4 { AF_INET } else { AF_INET6 };
    question(turned, interface, family, 0)
}

/// What the routing table is asked: by which way a packet goes on that came in by `interface`.
#[inline(always)]
fn question(packet: &Packet, interface: u32, family: u8, class: u32) -> bpf_fib_lookup {
    bpf_fib_lookup {
        family,
        l4_protocol: packet.protocol,
        sport: packet.source_port.to_be(),
        dport: packet.destination_port.to_be(),
        // With a length the kernel also compares it with what the way carries.
        __bindgen_anon_1: bpf_fib_lookup__bindgen_ty_1 { tot_len: packet.ip_len as u16 },
        ifindex: interface,
        __bindgen_anon_2: bpf_fib_lookup__bindgen_ty_2 { flowinfo: class },
        // An IPv4 address is the first word.
        __bindgen_anon_3: bpf_fib_lookup__bindgen_ty_3 { ipv6_src: packet.source },
        __bindgen_anon_4: bpf_fib_lookup__bindgen_ty_4 { ipv6_dst: packet.destination },
        __bindgen_anon_5: bpf_fib_lookup__bindgen_ty_5 { tbid: 0 },
        smac: [0; 6],
        dmac: [0; 6],
    }
}

#[inline(always)]
fn words([a, b, c, d, e, f]: [u8; 6]) -> [u16; 3] {
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]), u16::from_ne_bytes([e, f])]
}

/// A frame that lies in one piece.
struct Linear {
    start: usize,
    end: usize,
}

impl Linear {
    /// What lies at `offset`; `None` if it is not all there.
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let at = self.start + offset;
        if at + N > self.end {
            return None;
        }
        // SAFETY: the bytes lie before the end, as the verifier checks too.
        Some(unsafe { (at as *const [u8; N]).read() })
    }

    /// Puts `value` at `offset`; `None` if there is no room for all of it.
    #[inline(always)]
    fn write<T>(&self, offset: usize, value: T) -> Option<()> {
        let at = self.start + offset;
        if at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as above; nothing else refers to the frame's bytes.
        unsafe { (at as *mut T).write_unaligned(value) };
        Some(())
    }
}
