//! The filters there are. A new one is a parser in `firewall-common` and three lines here.

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use firewall_common::filter::{
    ftp,
    parser::{Outcome, Parser as _, Scene},
    rtsp, smtp,
};

use crate::{
    frame::{TcFrame, XdpFrame},
    read::{self, Filter},
};

/// Makes a parser a filter in the kernel: a program for each kind of hook, reached by tail call, and the function
/// that reads one byte. The programs' names are the filter's, with `_xdp` and `_tc`.
macro_rules! filters {
    ($($parser:ty: $xdp:ident, $tc:ident, $step:ident;)*) => {$(
        #[xdp(frags)]
        pub fn $xdp(context: XdpContext) -> u32 {
            read::segment::<_, $parser>(&XdpFrame::without_headers(context)) as u32
        }

        #[classifier]
        pub fn $tc(context: TcContext) -> i32 {
            read::segment::<_, $parser>(&TcFrame::without_headers(context))
        }

        impl Filter for $parser {
            #[inline(always)]
            fn step_once(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
                Outcome::from_bits($step(self, scene, peer, u32::from(byte)))
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $step(
            parser: *mut $parser,
            scene: *const Scene,
            peer: *const $parser,
            byte: u32,
        ) -> u64 {
            // SAFETY: the only caller passes references, or so the verifier will not believe: hence the check.
            match unsafe { (parser.as_mut(), scene.as_ref(), peer.as_ref()) } {
                (Some(parser), Some(scene), Some(peer)) => {
                    parser.step(scene, peer, byte as u8).bits()
                }
                _ => Outcome::NONE.bits(),
            }
        }
    )*};
}

filters! {
    rtsp::Parser: rtsp_xdp, rtsp_tc, rtsp_step;
    smtp::Parser: smtp_xdp, smtp_tc, smtp_step;
    ftp::Parser: ftp_xdp, ftp_tc, ftp_step;
}
