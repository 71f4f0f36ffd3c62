//! The socket's file, and who may use it.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Group;
use tokio::net::{UnixListener, UnixSocket};

use crate::{events::EventSettings, instance::Instance};

/// Connections that may wait until the controller looks.
const WAITING_MAX: u32 = 256;
/// Who is no member of the group is to learn so, and not that there is nothing.
const DIRECTORY_MODE: u32 = 0o711;
const ROOT_ALONE: u32 = 0o600;
const ROOT_AND_GROUP: u32 = 0o660;

/// Makes the socket, for root alone, in place of one that a controller left which is no more.
pub fn listen(instance: &Instance) -> Result<UnixListener> {
    let path = instance.socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    let listen = || -> Result<UnixListener> {
        fs::set_permissions(instance.run_directory(), fs::Permissions::from_mode(DIRECTORY_MODE))?;
        let socket = UnixSocket::new_stream()?;
        // The file is made with the socket's mode: there is no moment when others could connect.
        nix::sys::stat::fchmod(&socket, nix::sys::stat::Mode::from_bits_truncate(ROOT_ALONE))?;
        socket.bind(&path)?;
        Ok(socket.listen(WAITING_MAX)?)
    };
    listen().with_context(|| format!("cannot listen on {}", path.display()))
}

/// Lets the members of the settings' group read events from here on, or root alone. Who reads already goes on. It may take
/// long to look a group up.
///
/// # Errors
///
/// There is no such group: root alone may.
pub(super) fn set_group(instance: &Instance, settings: &EventSettings) -> Result<()> {
    let path = instance.socket();
    // First nobody else, so that no group gets what was meant for another.
    set_mode(&path, ROOT_ALONE)?;
    let Some(name) = &settings.group else { return Ok(()) };
    let Some(group) = Group::from_name(name).context("cannot look groups up")? else {
        bail!(
            "there is no group {name:?}: events are root's alone to read; add it with `groupadd --system {name}`, and \
             apply the policy again"
        );
    };
    chown(&path, None, Some(group.gid.as_raw()))
        .with_context(|| format!("cannot change the group of {}", path.display()))?;
    set_mode(&path, ROOT_AND_GROUP)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot change who may use {}", path.display()))
}
