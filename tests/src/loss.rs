//! A path that loses packets: the router of [`Lab::routed`] drops a share of what it forwards, at random, in both
//! directions.

use anyhow::{Context as _, Result};

use crate::{host::Host, topology::Lab};

/// Has the ends of `lab` send packets as they are on the wire, not segments of 64 KiB for a network card to cut: what
/// gets lost is a packet then.
pub fn packet_by_packet(lab: &Lab) -> Result<()> {
    for end in [&lab.client, &lab.camera] {
        end.ethtool_features("eth0", &["tso", "off", "gso", "off"])?;
    }
    Ok(())
}

/// Has `router` lose `percent` of 100 packets from now on; 0: none.
pub fn lose(router: &Host, percent: u32) -> Result<()> {
    router.nft(&format!(
        "table inet loss
        delete table inet loss
        table inet loss {{
            counter lost {{}}
            chain forward {{
                type filter hook forward priority filter
                numgen random mod 100 < {percent} counter name lost drop
            }}
        }}"
    ))
}

/// How many it has lost since the share was set last.
pub fn lost(router: &Host) -> Result<u64> {
    let mut nft = router.command("nft");
    let text = router.output(nft.args(["list", "counter", "inet", "loss", "lost"]))?;
    let count = text.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    count.and_then(|count| count.parse().ok()).with_context(|| format!("nft printed: {text}"))
}
