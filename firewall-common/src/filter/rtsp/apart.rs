//! Parts of the parser that the kernel's verifier looks at once.
//!
//! It follows every way through a program, and every way through a function again for each way that leads there: a
//! parser has more of both than it will walk. What ends this is a function with a symbol and C's calling convention,
//! which it knows by its signature alone (`btf_prepare_func_args` in the kernel). To the verifier such a function's
//! pointers may be null, so each begins with a check that never fails.

use super::super::parser::{Outcome, Scene};
use super::Parser;

macro_rules! apart {
    ($(fn $name:ident = $symbol:ident(|$parser:ident, $scene:ident, $peer:ident, $byte:ident| $body:expr);)*) => {$(
        #[doc = concat!("[`Parser::", stringify!($name), "`].")]
        #[inline(always)]
        pub(super) fn $name(parser: &mut Parser, scene: &Scene, peer: &Parser, byte: u8) -> Outcome {
            Outcome::from_bits($symbol(parser, scene, peer, u32::from(byte)))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $symbol(
            parser: *mut Parser,
            scene: *const Scene,
            peer: *const Parser,
            byte: u32,
        ) -> u64 {
            // SAFETY: the only caller passes references.
            match unsafe { (parser.as_mut(), scene.as_ref(), peer.as_ref()) } {
                (Some($parser), Some($scene), Some($peer)) => {
                    let $byte = byte as u8;
                    Outcome::from($body).bits()
                }
                _ => Outcome::NONE.bits(),
            }
        }
    )*};
}

apart! {
    fn start_line = rtsp_start_line(|parser, _scene, _peer, byte| parser.start_line(byte));
    fn header_start = rtsp_header_start(|parser, scene, peer, byte| {
        parser.header_start(scene, peer, byte)
    });
    fn header_name = rtsp_header_name(|parser, _scene, _peer, byte| parser.header_name(byte));
    fn header_value = rtsp_header_value(|parser, scene, peer, byte| {
        parser.header_value(scene, peer, byte)
    });
    fn transport_byte = rtsp_transport_byte(|parser, scene, _peer, byte| {
        parser.transport_byte(scene, byte);
        Outcome::NONE
    });
    fn end_header = rtsp_end_header(|parser, scene, _peer, _byte| parser.end_header(scene));
    fn end_message = rtsp_end_message(|parser, scene, peer, _byte| parser.end_message(scene, peer));
}
