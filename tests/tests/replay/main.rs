//! Replay tests: frames through the firewall's own programs, by the kernel's test-run. A module says what must become
//! of one kind of packet. They are one program, so that it loads the kernel's programs once for all of them.

mod anew;
mod any_bytes;
mod datagrams;
mod essential;
mod fragments;
mod headers;
mod icmp;
mod interfaces;
mod kill;
mod limits;
mod overlap;
mod pinholes;
mod policy;
mod quiet;
mod reject;
mod resources;
mod rule_counters;
mod services;
mod spoofing;
mod stream;
mod tcp;
mod tcp_closing;
mod tcp_handshake;
mod tcp_midstream;
mod tcp_reset;
mod tcp_windows;
mod timeouts;
mod truncated;
mod without_ethernet;
