//! The file server: pyftpdlib (`peers/ftp_server.py`), and what fetches files from it and brings them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{host::Host, process::Process, wait};

const SCRIPT: &str = include_str!("../../peers/ftp_server.py");

/// Seconds after which a transfer counts as stuck.
const TRANSFER_LIMIT: &str = "20";

/// A running file server.
#[derive(Debug)]
pub struct FileServer<'lab> {
    address: SocketAddr,
    directory: PathBuf,
    process: Process,
    /// Not needed, but the host must live longer than what runs on it.
    _host: &'lab Host,
}

impl<'lab> FileServer<'lab> {
    /// Starts a server on `host` that has a file `name` with `content`, and waits until it listens at `address`.
    pub fn start(
        host: &'lab Host,
        address: SocketAddr,
        name: &str,
        content: &[u8],
    ) -> Result<Self> {
        let file = host.write_file(name, content)?;
        let directory = file.parent().context("it is in the lab's directory")?.to_owned();
        let arguments =
            [address.ip().to_string(), address.port().to_string(), directory.display().to_string()];
        let mut process = host.start_python("files", SCRIPT, &arguments)?;
        wait::until("the file server listens", || {
            process.check_alive()?;
            if !process.stdout()?.contains("listening on") {
                bail!("it has not said so yet; it said:\n{}", process.tail());
            }
            Ok(())
        })?;
        Ok(Self { address, directory, process, _host: host })
    }

    /// Where the file `name` is.
    pub fn url(&self, name: &str) -> String {
        format!("ftp://{}/{name}", self.address)
    }

    /// The file `name`, as it lies on the server.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        read(&self.directory.join(name))
    }

    /// The last lines of the server's own messages.
    pub fn log_tail(&self) -> String {
        self.process.tail()
    }
}

/// Fetches `url` to `client` by curl, with further `options`.
pub fn fetch(client: &Host, url: &str, options: &[&str]) -> Result<Vec<u8>> {
    let file = client.write_file("fetched", "")?;
    let mut curl = client.command("curl");
    curl.args(["--silent", "--show-error", "--max-time", TRANSFER_LIMIT]).args(options);
    client.output(curl.arg("--output").arg(&file).arg(url))?;
    read(&file)
}

/// Brings `content` from `client` to `url` by curl, with further `options`.
pub fn bring(client: &Host, content: &[u8], url: &str, options: &[&str]) -> Result<()> {
    let file = client.write_file("to-bring", content)?;
    let mut curl = client.command("curl");
    curl.args(["--silent", "--show-error", "--max-time", TRANSFER_LIMIT]).args(options);
    client.output(curl.arg("--upload-file").arg(&file).arg(url)).map(drop)
}

/// Runs `commands` of lftp on `client`. It sends much that curl does not: FEAT, OPTS, MDTM, ABOR.
pub fn lftp(client: &Host, commands: &str) -> Result<String> {
    let mut lftp = client.command("timeout");
    lftp.args([TRANSFER_LIMIT, "lftp", "-c"]);
    let commands = format!("set net:max-retries 1; set net:timeout 5; {commands}");
    // Not the user's settings, which may do without what is tested here.
    client.output(lftp.arg(commands).env("HOME", "/nonexistent"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
