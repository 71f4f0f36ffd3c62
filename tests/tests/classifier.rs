//! The image of a policy says what its rules say, for any policy and any flow: on the host, by the code that the
//! kernel's programs are made of. `replay_classifier.rs` asks those.

use firewall_common::classifier::{self, UNNAMED};
use firewall_user::policy::Policy;
use lab::{
    differential::Random,
    reference::{self, Asked, Size},
};

/// Asks about so many random flows.
fn compare(seed: u64, size: Size, flows: usize) {
    let policy = Policy::parse("random", &reference::policy(seed, size)).expect("a good policy");
    let image = policy.compile().image;
    let mut random = Random::new(!seed);
    for _ in 0..flows {
        let asked = Asked::random(&mut random, &policy);
        for asked in [asked, Asked { interface: UNNAMED, ..asked }] {
            let judged = classifier::judge(&image[..], &asked.packet(), asked.interface);
            let judged = judged.expect("a whole image");
            let judged = (judged.action, usize::from(judged.rule), usize::from(judged.protocol));
            let expected = reference::judge(&policy, &asked);
            assert_eq!(judged, expected, "seed {seed}, {size:?}, {asked:?}");
        }
    }
}

#[test]
fn small_policies_say_what_their_rules_say() {
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let size = Size {
            networks: random.index(12),
            prefixes: random.index(4),
            protocols: random.index(6),
            rules: random.index(20),
        };
        compare(seed, size, 50);
    }
}

#[test]
fn policies_of_several_blocks_say_what_their_rules_say() {
    for seed in 0..4 {
        let size = Size { networks: 60, prefixes: 5, protocols: 30, rules: 3000 };
        compare(seed, size, 2000);
    }
}

#[test]
fn a_policy_of_10_000_rules_and_prefixes_says_what_its_rules_say() {
    let size = Size { networks: 2000, prefixes: 5, protocols: 1000, rules: 10_000 };
    compare(42, size, 1000);
}
