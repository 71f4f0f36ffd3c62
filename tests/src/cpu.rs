//! A CPU for one thread alone, so that time that passes is time that its work takes, whoever else uses the machine.
//!
//! A packet's way is gone by softirqs. Those that a system call raises run before it returns, unless somebody else
//! wants the CPU: then they are left to ksoftirqd. A thread of real-time priority is not asked to make room, and so
//! all that its calls set off happens within them. The CPU time of the thread would not do in place of the clock: how
//! kernels account for softirqs differs (`CONFIG_IRQ_TIME_ACCOUNTING`).

use std::io;

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// Gives this thread one CPU, before all others, from now on until its end.
pub(crate) fn have_alone() -> Result<()> {
    stay_on_one()?;
    before_all_others()
}

/// The last CPU that may be used: device interrupts go to the first by default.
fn stay_on_one() -> Result<()> {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).context("cannot ask for the CPUs")?;
    let cpu = (0..CpuSet::count())
        .rev()
        .find(|&cpu| allowed.is_set(cpu).unwrap_or(false))
        .context("there is no CPU to run on")?;
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(this_thread, &only).with_context(|| format!("cannot stay on CPU {cpu}"))
}

/// The lowest real-time priority is enough: other threads have none.
fn before_all_others() -> Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a value that lives across the call; 0 is this thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    if result != 0 {
        return Err(io::Error::last_os_error()).context("cannot have real-time priority");
    }
    Ok(())
}
