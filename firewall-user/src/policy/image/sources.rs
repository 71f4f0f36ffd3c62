//! Which sources may come in by which interface, as an image has it: [`firewall_common::classifier::Sources`] says how.

use firewall_common::classifier::{Line, Sources};
use ipnet::IpNet;

use super::{Builder, ranges::Listed, tree};
use crate::policy::{Numbers, Policy};

/// The line that says how sources are checked; 0: they are not.
pub(super) fn sources(policy: &Policy, numbers: &Numbers, builder: &mut Builder) -> u32 {
    let checks = &policy.anti_spoofing;
    if !checks.is_on() {
        return 0;
    }
    let bits = bits(policy, numbers);
    let [mut v4, mut v6] = [Listed::default(), Listed::default()];
    for (bit, list) in checks.lists.iter().enumerate() {
        for prefix in policy.prefixes_of(&list.networks) {
            match prefix {
                // To the left, so that prefixes of both families compare alike.
                IpNet::V4(net) => {
                    v4.add(u128::from(net.network().to_bits()) << 96, net.prefix_len(), Some(bit));
                }
                IpNet::V6(net) => v6.add(net.network().to_bits(), net.prefix_len(), Some(bit)),
            }
        }
    }
    let [v4, v6] = [v4, v6].map(|listed| {
        // What may come in from around a prefix may come in from within it.
        listed.ranges(0, |around, lists| {
            lists.networks.iter().fold(around, |bits, bit| bits | 1 << bit)
        })
    });
    let v4: Vec<_> = v4.into_iter().map(|(start, bits)| ((start >> 96) as u32, bits)).collect();
    let sources = Sources {
        mode: checks.mode as u32,
        bits: builder.append_words(&bits),
        bits_count: bits.len() as u32,
        addresses_v4: tree::build(builder, &v4),
        addresses_v6: tree::build(builder, &v6),
        ..Sources::default()
    };
    builder.append([Line(bytemuck::cast(sources))])
}

/// The bit of each interface that has a list, by the interface's number.
fn bits(policy: &Policy, numbers: &Numbers) -> Vec<u32> {
    let mut bits = Vec::new();
    for (bit, list) in policy.anti_spoofing.lists.iter().enumerate() {
        // The command line may have named other interfaces than the policy.
        let place = policy.interfaces.iter().position(|name| *name == list.interface);
        if let Some(number) = place.map(|place| usize::from(numbers.interfaces[place])) {
            bits.resize(bits.len().max(number + 1), 0);
            bits[number] = 1 << bit;
        }
    }
    bits
}
