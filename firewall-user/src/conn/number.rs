//! Numbers for the events of commands, which no other event of the instance has.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::{Context as _, Result};
use firewall_common::number::{COMMAND_CPU, numbered};
use nix::fcntl::{Flock, FlockArg};

use crate::instance::Instance;

/// Gives numbers. One command at a time has it; others wait.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Holds the last number that was given.
    file: Flock<fs::File>,
    last: u64,
}

impl Numbers {
    /// The numbers of an instance, beyond all that were given before.
    pub(crate) fn of(instance: &Instance) -> Result<Self> {
        let path = instance.run_directory().join("command-events");
        let open = || -> Result<Self> {
            fs::create_dir_all(instance.run_directory())?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            let mut file =
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            // Milliseconds, so that the numbers go on rising when the file is gone.
            let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
            let last = text.trim().parse().unwrap_or(0).max(u64::try_from(now).unwrap_or(0));
            Ok(Self { file, last })
        };
        open().with_context(|| format!("cannot use {}", path.display()))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.last += 1;
        numbered(self.last, COMMAND_CPU)
    }

    /// Writes down which was the last, for the next command.
    pub(crate) fn keep(&mut self) -> Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        Ok(write!(self.file, "{}", self.last)?)
    }
}
