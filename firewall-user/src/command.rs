//! Changing one flow, by the kernel program that does it: nothing comes between its look and its change.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use firewall_common::layout::{Command, Order};

use crate::{flows::Key, instance::Instance, object::COMMAND};

/// What the program returns when it did what was asked.
const DONE: u32 = 1;

/// The program that executes commands.
#[derive(Debug)]
pub struct Commander {
    program: SchedClassifier,
}

impl Commander {
    /// The program of an instance that is up.
    pub fn pinned(instance: &Instance) -> Result<Self> {
        let path = instance.programs().join(COMMAND);
        let program = SchedClassifier::from_pin(&path)
            .with_context(|| format!("cannot open the program {}", path.display()))?;
        Ok(Self { program })
    }

    /// The program of those that are loaded.
    pub fn loaded(ebpf: &Ebpf) -> Result<Self> {
        let program = ebpf.program(COMMAND).with_context(|| format!("no program {COMMAND}"))?;
        let program = SchedClassifier::from_program_info(program.info()?, COMMAND.into())?;
        Ok(Self { program })
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

    /// Leaves a tombstone in the place of the flow with this number, which names `event` as its cause. `false`:
    /// it is not there any more, or was killed before.
    pub fn kill(&self, key: &Key, id: u64, event: u64, now: u64) -> Result<bool> {
        self.execute(Command { id, event, now, ..command(key, Order::Kill) })
    }

    /// Gives the flow with this number another rule and protocol. `false`: it is not there any more, or was killed.
    pub fn reassign(&self, key: &Key, id: u64, rule: u16, protocol: u16) -> Result<bool> {
        self.execute(Command { id, rule, protocol, ..command(key, Order::Reassign) })
    }

    fn execute(&self, command: Command) -> Result<bool> {
        let options =
            TestRunOptions { data_in: Some(bytemuck::bytes_of(&command)), ..TestRunOptions::new() };
        let result = self.program.test_run(options).context("cannot change a flow")?;
        Ok(result.return_value == DONE)
    }
}

fn command(key: &Key, order: Order) -> Command {
    let order = order as u32;
    match key {
        Key::V4(key) => Command { key_v4: *key, order, version: 4, ..Command::default() },
        Key::V6(key) => Command { key_v6: *key, order, version: 6, ..Command::default() },
    }
}
