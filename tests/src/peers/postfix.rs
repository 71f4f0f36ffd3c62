//! A mail server: Postfix, with its configuration, its queue and its mailbox in a directory of the lab.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::User;

use crate::{host::Host, process::Process, tool, wait};

/// Where Debian keeps the programs that are Postfix's own.
const DAEMONS: &str = "/usr/lib/postfix/sbin";

/// The services that taking mail in needs, of those that Debian's package starts. None is in a chroot, which would
/// have to be furnished.
const SERVICES: &str = "\
smtp inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

/// A running mail server.
#[derive(Debug)]
pub struct Postfix<'lab> {
    address: SocketAddr,
    directory: PathBuf,
    process: Process,
    /// Not needed, but the host must live longer than what runs on it.
    _host: &'lab Host,
}

impl<'lab> Postfix<'lab> {
    /// Starts a mail server on `host`, for mail to `lab.example`, and waits until it runs.
    pub fn start(host: &'lab Host) -> Result<Self> {
        let directory = host.make_directory(&format!("postfix-{}", host.namespace()))?;
        prepare(&directory)?;
        let configuration = directory.join("etc");
        // Makes the queue's directories.
        host.output(host.command("postfix").arg("-c").arg(&configuration).arg("check"))?;
        let mut master = host.command(format!("{DAEMONS}/master"));
        master.arg("-c").arg(&configuration).arg("-d");
        let mut process = host.start("postfix", master)?;
        let log = directory.join("log");
        wait::until("Postfix runs", || {
            process.check_alive()?;
            if !fs::read_to_string(&log).unwrap_or_default().contains("daemon started") {
                bail!("it has not said so yet; it said:\n{}", process.tail());
            }
            Ok(())
        })?;
        Ok(Self { address: host.socket_v4(25), directory, process, _host: host })
    }

    /// Where it takes mail.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for a mail in the mailbox, takes it out, and returns what stands behind its header.
    pub fn receive(&mut self) -> Result<Vec<u8>> {
        let new = self.directory.join("mail/box/new");
        let path = wait::until("a mail is in the mailbox", || {
            self.process.check_alive()?;
            let mut mails = fs::read_dir(&new)?;
            Ok(mails.next().context("there is none")??.path())
        })
        .with_context(|| self.log())?;
        let mail = fs::read(&path)?;
        fs::remove_file(&path)?;
        let blank =
            mail.windows(2).position(|pair| pair == b"\n\n").context("a mail has a header")?;
        Ok(mail[blank + 2..].to_vec())
    }

    /// Waits until the log says that a client was lost, which was `after` this command.
    pub fn wait_for_loss(&self, after: &str) -> Result<()> {
        let line = format!("lost connection after {after}");
        wait::until(&line, || {
            if self.log().contains(&line) { Ok(()) } else { bail!("the log says:\n{}", self.log()) }
        })
    }

    /// What it says of its work.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

/// Writes the configuration and a certificate, and makes the places that it names.
fn prepare(directory: &Path) -> Result<()> {
    let place = |name: &str| directory.join(name);
    for name in ["etc", "queue", "data", "mail"] {
        fs::create_dir(place(name))?;
    }
    let account = |name: &str| {
        User::from_name(name)?
            .with_context(|| format!("there is no account {name}: is Postfix installed?"))
    };
    let (owner, mailbox) = (account("postfix")?, account("nobody")?);
    chown(place("data"), Some(owner.uid.as_raw()), None)?;
    chown(place("mail"), Some(mailbox.uid.as_raw()), None)?;
    // Its processes give up root for these accounts.
    let lab = directory.parent().context("the lab has a directory")?;
    for open in [lab, directory] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o755))?;
    }
    let (key, certificate) = (place("etc/key.pem"), place("etc/certificate.pem"));
    tool::run(
        std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=mail.lab.example"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    )?;
    fs::write(place("etc/master.cf"), SERVICES)?;
    fs::write(place("etc/main.cf"), main_cf(directory, &mailbox))?;
    Ok(())
}

fn main_cf(directory: &Path, mailbox: &User) -> String {
    let (uid, gid) = (mailbox.uid, mailbox.gid);
    let directory = directory.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = {DAEMONS}
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
myhostname = mail.lab.example
mydestination =
inet_interfaces = all
inet_protocols = all
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = lab.example
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_size_limit = 20000000
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {directory}/etc/key.pem, {directory}/etc/certificate.pem
"
    )
}
