//! How the cost grows with what there is more of: rules, flows, listeners, drops; and what a look at the metrics costs.

mod event_flood;
mod flows;
mod listeners;
mod rules;
mod scrapes;

use anyhow::Result;

use crate::section::Section;

/// How much is measured.
pub(crate) struct Plan {
    is_quick: bool,
}

impl Plan {
    pub(crate) fn new(is_quick: bool) -> Self {
        Self { is_quick }
    }
}

/// What rules and flows cost, by test-run, on the CPU that this thread is kept on.
pub(crate) fn measure(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Section>> {
    Ok(vec![
        rules::measure(&rules::Plan::new(plan.is_quick), &progress)?,
        flows::measure(&flows::Plan::new(plan.is_quick), &progress)?,
    ])
}

/// What listeners, those who fetch metrics, and a flood of drops cost, in the lab and on all CPUs.
pub(crate) fn measure_in_lab(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Section>> {
    Ok(vec![
        listeners::measure(&listeners::Plan::new(plan.is_quick), &progress)?,
        scrapes::measure(&scrapes::Plan::new(plan.is_quick), &progress)?,
        event_flood::measure(&event_flood::Plan::new(plan.is_quick), &progress)?,
    ])
}
