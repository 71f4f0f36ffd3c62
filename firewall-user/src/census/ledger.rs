//! What censuses said of rules so far, so that the next one says no less.

use std::{collections::HashMap, path::PathBuf};

use anyhow::Result;
use firewall_common::tally::RuleCounters;
use serde::{Deserialize, Serialize};

use super::RuleTotals;
use crate::{
    instance::{Instance, replace_json},
    rule_counters::Sums,
    tables::Tables,
};

/// Its file in the run directory.
const FILE: &str = "census.json";

/// What censuses said so far of each rule.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    kept: Kept,
    /// As it was last written down.
    written: Kept,
    /// Where; `None`: nowhere.
    path: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Number of the kernel's table of counters: what was said of another one counts for nothing.
    table: u32,
    rules: HashMap<u16, RuleTotals>,
}

impl Ledger {
    /// That of an instance, as the controller before left it. One that cannot be read begins anew, for flows have to be
    /// swept all the same.
    ///
    /// # Errors
    ///
    /// The kernel's table of counters is not there.
    pub fn of(instance: &Instance, tables: &Tables) -> Result<Self> {
        let table = tables.data("RULE_COUNTERS")?.info()?.id();
        let known: Option<Kept> = instance.read_json(FILE).unwrap_or_else(|error| {
            tracing::warn!("counters of rules may go back once: {error:#}");
            None
        });
        let kept = known.filter(|kept| kept.table == table);
        let kept = kept.unwrap_or(Kept { table, rules: HashMap::new() });
        let path = Some(instance.run_directory().join(FILE));
        Ok(Self { written: kept.clone(), kept, path })
    }

    /// Enters what a census found of a rule, and says what the rule did.
    pub(super) fn enter(
        &mut self,
        rule: u16,
        counters: RuleCounters,
        sums: &Sums,
        live_flows: u64,
    ) -> RuleTotals {
        let counted = sums.of(rule);
        let now = RuleTotals {
            flows: counters.flows,
            packets: sum(counters.packets, counted.packets),
            bytes: sum(counters.bytes, counted.bytes),
            refused_packets: counters.refused_packets,
            refused_bytes: counters.refused_bytes,
            live_flows,
        };
        let before = self.kept.rules.entry(rule).or_default();
        // Flows and refusals are only ever added to: fewer of them are those of another rule, which has the number now.
        if now.flows < before.flows || now.refused_packets < before.refused_packets {
            *before = now;
        }
        let (packets, bytes) = (now.packets.max(before.packets), now.bytes.max(before.bytes));
        *before = RuleTotals { packets, bytes, ..now };
        *before
    }

    /// Writes it down, if it changed. Not where the run directory is gone: the instance was taken down meanwhile.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&mut self) -> Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| self.written != self.kept) else {
            return Ok(());
        };
        if !path.parent().is_some_and(|directory| directory.is_dir()) {
            return Ok(());
        }
        replace_json(path, &self.kept)?;
        self.written = self.kept.clone();
        Ok(())
    }
}

/// What stands in both places. The kernel's part may be below zero, and so may the sum be as long as flows are left out.
fn sum(counter: u64, counted: u64) -> u64 {
    u64::try_from(counter.wrapping_add(counted).cast_signed()).unwrap_or(0)
}
