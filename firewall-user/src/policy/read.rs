//! Reading one file within bounds, whatever it is: a policy is named on a command line, and a wrong name must
//! neither block nor fill the memory.

use std::{
    fs::{File, FileType, OpenOptions},
    io::Read as _,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Which file it is, under whatever name: its device and its number there.
pub(super) type Identity = (u64, u64);

/// Why a file was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than what was left.
    TooLarge,
    /// For this reason.
    Because(String),
}

impl Unread {
    pub(super) fn because(reason: &str) -> Self {
        Self::Because(reason.to_owned())
    }

    fn failed(error: std::io::Error) -> Self {
        Self::Because(error.to_string())
    }
}

/// Opens the file at `path`, if it is one. A device is not even opened, because that may have an effect.
pub(super) fn open(path: &Path) -> Result<(Identity, File), Unread> {
    check_kind(std::fs::metadata(path).map_err(Unread::failed)?.file_type())?;
    let file = OpenOptions::new()
        .read(true)
        // Should a pipe have taken its place meanwhile, this does not wait for a writer.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(Unread::failed)?;
    let metadata = file.metadata().map_err(Unread::failed)?;
    check_kind(metadata.file_type())?;
    Ok(((metadata.dev(), metadata.ino()), file))
}

fn check_kind(kind: FileType) -> Result<(), Unread> {
    Err(Unread::because(if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "it is a directory"
    } else if kind.is_fifo() {
        "it is a pipe: write the policy to a file first"
    } else if kind.is_socket() {
        "it is a socket"
    } else {
        "it is a device"
    }))
}

/// What stands in the file, if that is `bytes_max` bytes at most.
pub(super) fn read(file: File, bytes_max: usize) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    // The limit is on what is read, not on what the directory says: the file may grow, and in /proc has no size.
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(Unread::failed)?;
    if bytes.len() > bytes_max { Err(Unread::TooLarge) } else { Ok(bytes) }
}
