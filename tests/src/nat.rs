//! Rulesets of nft by which the gateway hides who is behind it.

/// What leaves by wan0 bears the gateway's own address, and the client's port where that is free.
pub const MASQUERADE: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 masquerade
    }
}";

/// The same, and another port than the client's.
pub const MASQUERADE_RANDOM: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 masquerade random
    }
}";
