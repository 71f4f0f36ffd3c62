//! Changing one flow, by the kernel program that does it: nothing comes between its look and its change.

use std::{cell::Cell, thread::sleep, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use firewall_common::{
    layout::{Command, CommandResult, Order},
    reason::Reason,
};

use crate::{flows::Key, instance::Instance, object::COMMAND};

/// How long to wait for room in the ring of kills before the next try, and how often. A controller that works looks into
/// it at once.
const PAUSE: Duration = Duration::from_millis(1);
const TRIES: u32 = 2_000;

/// A kill that is told by the kernel, as it tells of those of filters.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Number of the event, which no other has.
    pub event: u64,
    /// Why.
    pub reason: Reason,
    /// The present, nanoseconds of the monotonic clock.
    pub now: u64,
}

/// The program that executes commands.
#[derive(Debug)]
pub struct Commander {
    program: SchedClassifier,
    /// How many tries are left while nobody takes kills out of their ring.
    patience: Cell<u32>,
}

impl Commander {
    /// The program of an instance that is up.
    pub fn pinned(instance: &Instance) -> Result<Self> {
        let path = instance.programs().join(COMMAND);
        let program = SchedClassifier::from_pin(&path)
            .with_context(|| format!("cannot open the program {}", path.display()))?;
        Ok(Self { program, patience: Cell::new(TRIES) })
    }

    /// The program of those that are loaded.
    pub fn loaded(ebpf: &Ebpf) -> Result<Self> {
        let program = ebpf.program(COMMAND).with_context(|| format!("no program {COMMAND}"))?;
        let program = SchedClassifier::from_program_info(program.info()?, COMMAND.into())?;
        Ok(Self { program, patience: Cell::new(TRIES) })
    }

    /// Removes the flow with this number if it has been silent for longer than its state allows at `now`,
    /// nanoseconds of the monotonic clock. `false`: it is not there any more, or not silent for so long.
    pub fn expire(&self, key: &Key, id: u64, now: u64) -> Result<bool> {
        self.execute(Command { id, now, ..command(key, Order::Expire) })
    }

    /// Removes the entry with this number, flow or alias. `false`: it is not there any more.
    pub fn remove(&self, key: &Key, id: u64) -> Result<bool> {
        self.execute(Command { id, ..command(key, Order::Remove) })
    }

    /// Tells of a kill and then leaves a tombstone in the place of the flow with this number, which names the kill as its
    /// cause: no drop can be told before it. Waits while the kills' ring is full, for two seconds at most and then no more
    /// until there is room again.
    ///
    /// [`CommandResult::NotDone`]: it is not there any more, or was killed before. [`CommandResult::Untold`]: it is dead, and no event
    /// tells of it.
    pub fn tell_and_kill(&self, key: &Key, id: u64, kill: Kill) -> Result<CommandResult> {
        let Kill { event, reason, now } = kill;
        let command =
            |order| Command { id, event, now, reason: reason as u32, ..command(key, order) };
        while self.patience.get() > 0 {
            let answer = self.answer(command(Order::TellAndKill))?;
            if answer != CommandResult::NoRoom {
                return Ok(self.note(answer));
            }
            self.patience.set(self.patience.get() - 1);
            sleep(PAUSE);
        }
        self.answer(command(Order::KillAnyway)).map(|answer| self.note(answer))
    }

    /// A kill that was told found room: somebody takes them out.
    fn note(&self, answer: CommandResult) -> CommandResult {
        if answer == CommandResult::Done {
            self.patience.set(TRIES);
        }
        answer
    }

    /// Leaves a tombstone in the place of the flow with this number, which names `event` as its cause, a kill that has
    /// been told. `false`: it is not there any more, or was killed before.
    pub fn kill(&self, key: &Key, id: u64, event: u64, now: u64) -> Result<bool> {
        self.execute(Command { id, event, now, ..command(key, Order::KillChild) })
    }

    /// Gives the flow with this number another rule and protocol. `false`: it is not there any more, or was killed.
    pub fn reassign(&self, key: &Key, id: u64, rule: u16, protocol: u16) -> Result<bool> {
        self.execute(Command { id, rule, protocol, ..command(key, Order::Reassign) })
    }

    /// Forgets what filters knew of the flow with this number, which is not there any more, and ends what it announced,
    /// after the usual time.
    pub fn forget(&self, id: u64, now: u64) -> Result<()> {
        let order = Order::Forget as u32;
        self.execute(Command { id, now, order, ..Command::default() }).map(drop)
    }

    fn execute(&self, command: Command) -> Result<bool> {
        Ok(self.answer(command)? == CommandResult::Done)
    }

    fn answer(&self, command: Command) -> Result<CommandResult> {
        let options =
            TestRunOptions { data_in: Some(bytemuck::bytes_of(&command)), ..TestRunOptions::new() };
        let result = self.program.test_run(options).context("cannot change a flow")?;
        CommandResult::from_raw(result.return_value)
            .context("the program for commands gave no answer")
    }
}

fn command(key: &Key, order: Order) -> Command {
    let order = order as u32;
    match key {
        Key::V4(key) => Command { key_v4: *key, order, version: 4, ..Command::default() },
        Key::V6(key) => Command { key_v6: *key, order, version: 6, ..Command::default() },
    }
}
