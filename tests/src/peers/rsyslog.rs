//! rsyslog, with the configuration that docs/exports.md has.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{host::Host, process::Process, receivers, wait};

const DOCUMENTATION: &str = include_str!("../../../docs/exports.md");
/// What stands before the configuration.
const BEFORE: &str = "in `/etc/rsyslog.d/fwx.conf`";
/// What the configuration calls its socket and its file, which have to be the lab's here.
const SOCKET: &str = "/run/fwx-log";
const FILE: &str = "/var/log/fwx.json";

/// rsyslog on a host.
#[derive(Debug)]
pub struct Rsyslog<'lab> {
    host: &'lab Host,
    directory: PathBuf,
    process: Option<Process>,
}

/// A line of what it wrote: a message, taken apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// RFC 3339.
    pub time: String,
    /// The sender.
    pub host: String,
    /// Facility and severity: `local0.warning`.
    pub priority: String,
    /// What MSGID says.
    pub kind: String,
    /// The structured data.
    pub fields: BTreeMap<String, String>,
    /// The message's text.
    pub line: String,
}

impl<'lab> Rsyslog<'lab> {
    /// rsyslog on `host`, which is not started yet.
    pub fn new(host: &'lab Host) -> Result<Self> {
        let directory = host.make_directory(&format!("rsyslog-{}", host.namespace()))?;
        let rsyslog = Self { host, directory, process: None };
        let (_, behind) = DOCUMENTATION.split_once(BEFORE).context("no configuration is shown")?;
        let (_, behind) = behind.split_once("\n\n").context("the configuration is not shown")?;
        let shown = behind.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        let text = shown.collect::<Vec<_>>().join("\n");
        ensure!(text.contains(SOCKET) && text.contains(FILE), "not the configuration: {text}");
        let text = text
            .replace(SOCKET, &rsyslog.socket().display().to_string())
            .replace(FILE, &rsyslog.file().display().to_string())
            // The machine's own /dev/log is not the lab's to take.
            .replace(r#"load="imuxsock""#, r#"load="imuxsock" sysSock.use="off""#);
        // The lab has no name server to ask for the senders' names.
        let directory = rsyslog.directory.display();
        let global = format!("global(workDirectory=\"{directory}\" net.enableDNS=\"off\")\n");
        fs::write(rsyslog.directory.join("rsyslog.conf"), global + &text)?;
        Ok(rsyslog)
    }

    /// Starts it and waits until it listens.
    pub fn start(&mut self) -> Result<()> {
        let mut command = receivers::rsyslogd(self.host)?;
        command.arg("-n").arg("-i").arg(self.directory.join("pid"));
        command.arg("-f").arg(self.directory.join("rsyslog.conf"));
        let (host, socket) = (self.host, self.socket());
        let process = self.process.insert(host.start("rsyslogd", command)?);
        wait::until("rsyslog listens", || {
            process.check_alive()?;
            let said = process.tail();
            ensure!(!said.contains("error"), "rsyslogd says:\n{said}");
            let listening = host.output(host.command("ss").args(["-Hltun"]))?;
            ensure!(listening.contains(":514 ") && listening.contains(":601 "), "not yet");
            ensure!(socket.exists(), "its socket is not there yet");
            Ok(())
        })
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("rsyslog does not run")?.kill()?;
        // A new one would make it anew; until then nobody is to find it.
        let _ = fs::remove_file(self.socket());
        Ok(())
    }

    /// Where it takes UDP.
    pub fn udp(&self) -> SocketAddr {
        self.host.socket_v4(514)
    }

    /// Where it takes TCP.
    pub fn tcp(&self) -> SocketAddr {
        self.host.socket_v6(601)
    }

    /// Where it takes datagrams of the machine's own.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// The messages that came so far.
    pub fn messages(&self) -> Result<Vec<Message>> {
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        // The last line may still be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let read = |line: &str| {
            serde_json::from_str(line).with_context(|| format!("rsyslog wrote no message: {line}"))
        };
        whole.lines().map(read).collect()
    }

    fn file(&self) -> PathBuf {
        self.directory.join("messages.json")
    }
}
