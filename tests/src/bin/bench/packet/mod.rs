//! What a packet costs, in the kernel's own test-run: each way through the firewall beside a program that does nothing
//! and beside the floor, the least that a firewall with flows can do.

mod conversation;
mod counts;
mod measure;
mod programs;
mod proof;
mod sections;
mod stage;
mod subject;

use anyhow::Result;

use firewall_user::policy::TableSizes;

pub(crate) use conversation::{Conversation, Family, Service};
pub(crate) use measure::{Plan, median, take};
pub(crate) use programs::Programs;
pub(crate) use stage::Stage;
pub(crate) use subject::{Hook, Subject};

use crate::section::Section;
use measure::Figures;

/// Takes all figures, on the CPU that this thread is kept on.
pub(crate) fn measure(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Section>> {
    let mut figures = Figures::new(plan);
    let mut loads = Vec::new();
    let mut counts = Ok(());
    for load in 1..=plan.loads {
        let mut stage = Stage::new(Programs::load(TableSizes::default())?);
        counts = stage.programs.counts();
        for &flows in &plan.table_sizes {
            stage.grow_to(flows)?;
            for _ in 0..plan.rounds {
                figures.take_round(&mut stage, flows)?;
            }
            let (loads, rounds) = (plan.loads, plan.rounds);
            progress(&format!("load {load} of {loads}: {rounds} rounds with {flows} flows done"));
        }
        loads.push(stage.programs.into_loaded());
    }
    Ok(vec![sections::packets(plan, &figures.costs(), counts), sections::programs(&loads)])
}
