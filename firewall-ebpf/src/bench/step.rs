//! Programs on frames that differ from run to run, as the [`Step`] in each of them says: the firewall's, and what it is
//! compared with.

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    layout::Hook,
    step::{CLIENT_PORTS_FROM, Change, Step, client_port},
};

use crate::{
    frame::{Frame as _, TcFrame, XdpFrame},
    hook,
};

/// The change alone: what it costs that the frames differ.
#[xdp(frags)]
pub fn bench_step_empty_xdp(context: XdpContext) -> u32 {
    step(context.data(), context.data_end());
    XdpFrame::PASS as u32
}

/// As [`bench_step_empty_xdp`].
#[classifier]
pub fn bench_step_empty_tc(context: TcContext) -> i32 {
    step(context.data(), context.data_end());
    TcFrame::PASS
}

/// The change, then the parser and one look into the table of flows.
#[xdp(frags)]
pub fn bench_step_lookup_xdp(context: XdpContext) -> u32 {
    step(context.data(), context.data_end());
    super::lookup(&XdpFrame::new(context)) as u32
}

/// As [`bench_step_lookup_xdp`].
#[classifier]
pub fn bench_step_lookup_tc(context: TcContext) -> i32 {
    step(context.data(), context.data_end());
    super::lookup(&TcFrame::new(context))
}

/// The change, then the ingress program.
#[xdp(frags)]
pub fn bench_step_xdp(context: XdpContext) -> u32 {
    step(context.data(), context.data_end());
    hook::packet(&XdpFrame::without_headers(context), Hook::Ingress) as u32
}

/// As [`bench_step_xdp`].
#[classifier]
pub fn bench_step_tc(context: TcContext) -> i32 {
    step(context.data(), context.data_end());
    hook::packet(&TcFrame::without_headers(context), Hook::Ingress)
}

const ETHERNET: usize = 14;

/// Where things stand in a frame of each family, without options and without extension headers in front of TCP and
/// UDP; the second family's identification stands in its fragment header, which follows at once.
struct Places {
    /// The last four bytes of the address, which tell the clients from each other.
    source: usize,
    destination: usize,
    /// What a client's address has in the first of these bytes.
    client: u32,
    identification: usize,
    /// Two bytes, not four.
    identification_is_short: bool,
    transport: usize,
}

const V4: Places = Places {
    source: ETHERNET + 12,
    destination: ETHERNET + 16,
    client: 10 << 24,
    identification: ETHERNET + 4,
    identification_is_short: true,
    transport: ETHERNET + 20,
};

const V6: Places = Places {
    source: ETHERNET + 20,
    destination: ETHERNET + 36,
    client: 0,
    identification: ETHERNET + 44,
    identification_is_short: false,
    transport: ETHERNET + 40,
};

/// Makes the frame the next one.
#[inline(always)]
fn step(start: usize, end: usize) {
    let head = Head { start, end };
    let Some(step) = head.at::<Step>(0) else {
        return;
    };
    // SAFETY: as long as the frame is, as `at` made sure of and the verifier checks too; any bytes are a Step.
    let this = unsafe { step.read_unaligned() };
    // SAFETY: as above.
    unsafe { step.write_unaligned(this.after()) };
    if head.read::<u8>(ETHERNET).is_some_and(|byte| byte >> 4 == 4) {
        head.become_next(&this, &V4);
    } else {
        head.become_next(&this, &V6);
    }
}

/// The linear part of a frame.
struct Head {
    start: usize,
    end: usize,
}

impl Head {
    #[inline(always)]
    fn become_next(&self, step: &Step, places: &Places) {
        match step.change() {
            Change::Stream => self.go_on(places.transport),
            Change::Flow => self.be_of_flow(step.number(), places),
            Change::Datagram if places.identification_is_short => {
                self.write(places.identification, (step.number() as u16).to_be());
            }
            Change::Datagram => {
                self.write(places.identification, step.number().to_be());
            }
        }
    }

    /// Moves the sequence number on by the length of the payload. TCP's header has no options.
    #[inline(always)]
    fn go_on(&self, transport: usize) {
        const TCP: usize = 20;
        const SEQ: usize = 4;
        let len = (self.end - self.start).wrapping_sub(transport + TCP) as u32;
        if let Some(seq) = self.read::<u32>(transport + SEQ) {
            self.write(transport + SEQ, u32::from_be(seq).wrapping_add(len).to_be());
        }
    }

    /// Puts in the client of the flow, which is the end with a client's port.
    #[inline(always)]
    fn be_of_flow(&self, number: u32, places: &Places) {
        const DESTINATION_PORT: usize = 2;
        let (address, port) = ((places.client | number).to_be(), client_port(number).to_be());
        let source_port = self.read::<u16>(places.transport).map_or(0, u16::from_be);
        if source_port >= CLIENT_PORTS_FROM {
            self.write(places.source, address);
            self.write(places.transport, port);
        } else {
            self.write(places.destination, address);
            self.write(places.transport + DESTINATION_PORT, port);
        }
    }

    #[inline(always)]
    fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: as `at` made sure of, and only integers are read.
        self.at::<T>(offset).map(|at| unsafe { at.read_unaligned() })
    }

    #[inline(always)]
    fn write<T>(&self, offset: usize, value: T) {
        if let Some(at) = self.at::<T>(offset) {
            // SAFETY: as `at` made sure of.
            unsafe { at.write_unaligned(value) }
        }
    }

    /// Where a value of the frame is, if it has that many bytes.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let at = self.start + offset;
        (at + size_of::<T>() <= self.end).then_some(at as *mut T)
    }
}
