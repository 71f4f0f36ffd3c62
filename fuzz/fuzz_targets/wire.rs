//! Frames as they come from the network.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::wire(input));
