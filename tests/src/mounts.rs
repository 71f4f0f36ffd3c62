//! Mounts that a test alone sees.

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Gives this thread, and what it starts, a mount namespace: what it mounts from now on nobody else sees, and is gone
/// with them.
pub fn have_own() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot have mounts of our own")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot keep mounts to ourselves")
}
