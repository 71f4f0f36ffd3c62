//! The SMTP filter.
#![no_main]

use firewall_common::filter::smtp::Parser;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::filter::<Parser>(input));
