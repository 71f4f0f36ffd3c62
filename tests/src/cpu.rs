//! A CPU for one thread alone, so that time that passes is time that its work takes, whoever else uses the machine.
//!
//! A packet's way is gone by softirqs. Those that a system call raises run before it returns, unless somebody else
//! wants the CPU: then they are left to ksoftirqd. A thread of real-time priority is not asked to make room, and so
//! all that its calls set off happens within them. The CPU time of the thread would not do in place of the clock: how
//! kernels account for softirqs differs (`CONFIG_IRQ_TIME_ACCOUNTING`).

use std::io;

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

const THIS_THREAD: Pid = Pid::from_raw(0);

/// Gives this thread one CPU, before all others, from now on until its end: the last, for device interrupts go to the
/// first by default.
pub(crate) fn have_alone() -> Result<()> {
    let cpu = allowed()?.pop().context("there is no CPU to run on")?;
    stay_on(cpu)?;
    before_all_others()
}

/// As [`have_alone`], but another CPU than that.
pub(crate) fn have_another_alone() -> Result<()> {
    let &[cpu, _, ..] = allowed()?.as_slice() else {
        bail!("two threads that each want a CPU alone need two CPUs");
    };
    stay_on(cpu)?;
    before_all_others()
}

/// Keeps this thread on the CPU with this number, from 0 on, among those that it may run on; where there are fewer, on
/// any.
pub fn stay_on_nth(number: usize) -> Result<()> {
    allowed()?.get(number).map_or(Ok(()), |&cpu| stay_on(cpu))
}

/// The CPUs that this thread may use, from the first on.
fn allowed() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(THIS_THREAD).context("cannot ask for the CPUs")?;
    Ok((0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect())
}

fn stay_on(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(THIS_THREAD, &only).with_context(|| format!("cannot stay on CPU {cpu}"))
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
