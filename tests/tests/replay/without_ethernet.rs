//! Programs for packets that begin with their IP header, as far as the kernel's test-run shows them: it takes the first
//! 14 bytes of what it is given for an Ethernet header and what follows for the packet. Here both look like a packet.

use aya::programs::{TestRun as _, TestRunOptions};
use firewall_common::{layout::Counter, reason::Reason};
use firewall_user::{
    generation::Over,
    object::{self, Purpose, WITHOUT_ETHERNET},
    policy::{Policy, TableSizes},
    tables::Tables,
};
use lab::Packet;

const ETHERNET_HEADER_LEN: usize = 14;
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;

/// Some drivers leave what they took off a packet in front of it. On its way out a packet begins where the kernel has
/// put its header.
#[test]
fn what_stands_before_a_packet_that_comes_in_is_not_taken_for_one() {
    let sizes = TableSizes { completed: 64, half_open: 256 };
    let mut ebpf = object::create(Purpose::Bench, sizes).unwrap();
    object::load_without_ethernet(&mut ebpf).unwrap();
    let tables = Tables::of_loaded(&ebpf).unwrap();
    tables.write_policy(&Policy::builtin().compile(), Over::Nothing).unwrap();
    let [ingress, egress] = WITHOUT_ETHERNET;
    let mut run = |program, packet: &[u8]| {
        let options = TestRunOptions { data_in: Some(packet), ..TestRunOptions::new() };
        object::classifier(&mut ebpf, program).unwrap().test_run(options).unwrap().return_value
    };
    let refused = || tables.reason_count(Reason::IpVersion).unwrap();
    let opened = || tables.counter(Counter::FlowsOpened).unwrap();
    // In their sources stands, in the right place, the Ethernet type of their kind.
    for (number, [from, to]) in
        (1..).zip([["8.0.0.1:1", "8.0.0.2:2"], ["[2001:db8:86dd::1]:1", "[2001:db8:86dd::2]:2"]])
    {
        let packet = Packet::udp(from.parse().unwrap(), to.parse().unwrap()).payload([0; 40]);
        let packet = &packet.build()[ETHERNET_HEADER_LEN..];
        assert_eq!(run(ingress, packet), TC_ACT_SHOT, "{from}");
        assert_eq!((refused(), opened()), (number, number - 1), "{from}");
        assert_eq!(run(egress, packet), TC_ACT_UNSPEC, "{from}");
        assert_eq!((refused(), opened()), (number, number), "{from}");
    }
}
