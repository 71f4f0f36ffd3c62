//! Instructions and cycles that runs take, where the machine counts them (perf_event_open(2)). Virtual machines often
//! do not.

use std::io;

use perf_event::{Builder, Counter, events::Hardware};

/// What a run took besides time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) instructions: f64,
    pub(crate) cycles: f64,
}

/// The counters of this thread, in the kernel.
pub(super) struct Counters {
    instructions: Counter,
    cycles: Counter,
}

impl Counters {
    pub(super) fn open() -> io::Result<Self> {
        let open =
            |event: Hardware| Builder::new(event).include_kernel().exclude_user(true).build();
        Ok(Self {
            instructions: open(Hardware::INSTRUCTIONS)?,
            cycles: open(Hardware::CPU_CYCLES)?,
        })
    }

    /// Begins to count, from nothing.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        for counter in [&mut self.instructions, &mut self.cycles] {
            counter.reset()?;
            counter.enable()?;
        }
        Ok(())
    }

    /// Ends it: what `runs` runs took, for one.
    pub(super) fn end(&mut self, runs: u32) -> io::Result<Counted> {
        for counter in [&mut self.instructions, &mut self.cycles] {
            counter.disable()?;
        }
        Ok(Counted {
            instructions: self.instructions.read()? as f64 / f64::from(runs),
            cycles: self.cycles.read()? as f64 / f64::from(runs),
        })
    }
}
