//! A machine of the lab: a network namespace, its interfaces, and what one can do in it.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    namespace::{self, Namespace},
    packet::{Mac, Packet},
    process::{self, Process},
    raw, tool,
};

/// One end of a link.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The device's name, e.g. `eth0`.
    pub name: &'static str,
    /// Its address, with a 24 bit prefix.
    pub ipv4: Ipv4Addr,
    /// Its address, with a 64 bit prefix.
    pub ipv6: Ipv6Addr,
    /// Its hardware address.
    pub mac: Mac,
    /// The hardware address at the other end of the link.
    pub peer_mac: Mac,
}

/// A machine of the lab.
#[derive(Debug)]
pub struct Host {
    role: &'static str,
    namespace: Namespace,
    interfaces: Vec<Interface>,
    directory: PathBuf,
}

impl Host {
    /// Makes the namespace `LAB-ROLE`, with loopback up and nothing else yet. Logs of its programs
    /// go to `directory`.
    pub(crate) fn create(
        lab: &str,
        role: &'static str,
        interfaces: Vec<Interface>,
        directory: &Path,
    ) -> Result<Self> {
        let namespace = Namespace::create(format!("{lab}-{role}"))?;
        namespace.ip("link set lo up")?;
        // Addresses can be used at once: nobody else has them.
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        Ok(Self { role, namespace, interfaces, directory: directory.to_owned() })
    }

    /// What the host is in the lab: `client`, `camera`, `gateway`, `router`, `central` or `branch`.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// The name under which `ip netns` shows the host.
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// The host's interface `name`.
    ///
    /// # Panics
    ///
    /// When there is none: the names are fixed by the lab's shape.
    pub fn interface(&self, name: &str) -> &Interface {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
            .unwrap_or_else(|| panic!("the {} has no interface {name}", self.role))
    }

    /// The first interface: the only one of a client or a camera.
    pub fn first_interface(&self) -> &Interface {
        &self.interfaces[0]
    }

    /// The host's IPv4 address with `port`.
    pub fn socket_v4(&self, port: u16) -> SocketAddr {
        (self.first_interface().ipv4, port).into()
    }

    /// The host's IPv6 address with `port`.
    pub fn socket_v6(&self, port: u16) -> SocketAddr {
        (self.first_interface().ipv6, port).into()
    }

    /// A command that will run on the host.
    ///
    /// It sees the mounts of this process (bpffs among them), and the kernel kills it when the
    /// thread that starts it ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        process::end_with_parent(&mut command);
        namespace::enter_on_exec(&mut command, self.namespace.name());
        command
    }

    /// Runs `command` (made by [`Host::command`]) to its end and returns what it printed.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        tool::run(command).with_context(|| format!("on the {}", self.role))
    }

    /// Starts `command` in the background; its logs are named after `name`.
    pub fn start(&self, name: &str, command: Command) -> Result<Process> {
        let name = format!("{}-{name}", self.role);
        Process::start(&name, command, None, &self.directory)
    }

    /// Starts the Python `script` in the background, by the system's interpreter: the one that
    /// Debian's packages put their modules in reach of.
    pub(crate) fn start_python(
        &self,
        name: &str,
        script: &str,
        arguments: &[String],
    ) -> Result<Process> {
        let name = format!("{}-{name}", self.role);
        let (path, mut file) = process::create_fresh(&self.directory, &name, "py")?;
        file.write_all(script.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = self.command("/usr/bin/python3");
        // Unbuffered, so that the log holds what was said before an abrupt end.
        command.args(["-u", "-"]).args(arguments);
        Process::start(&name, command, Some(&path), &self.directory)
    }

    /// Runs `work` on a thread inside the host's namespace. Sockets that it opens stay in there and
    /// can be used from anywhere.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.run(work)
    }

    /// Sends `frame` out of `interface`, as it is, past the host's own network stack.
    pub fn send_frame(&self, interface: &str, frame: &[u8]) -> Result<()> {
        self.run(|| raw::Sender::open(interface)?.send(frame))?
            .with_context(|| format!("cannot send a frame from {} of the {}", interface, self.role))
    }

    /// Sends `packet` out of `interface`, addressed to the machine at the link's other end.
    pub fn send_packet(&self, interface: &str, packet: Packet) -> Result<()> {
        let Interface { mac, peer_mac, .. } = self.interface(interface);
        self.send_frame(interface, &packet.macs(*mac, *peer_mac).build())
    }

    /// Writes a file of the lab, which is removed with it, and returns its path.
    pub fn write_file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The path that a file of the lab has, which is removed with the lab.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes a directory of the lab, which is removed with it, and returns its path.
    pub fn make_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Runs lines of `ip` commands on the host, in one go.
    pub fn ip(&self, script: &str) -> Result<()> {
        self.namespace.ip(script)
    }

    /// Writes a setting below /proc/sys/net, e.g. `ipv4/ip_forward`.
    pub fn sysctl(&self, setting: &str, value: &str) -> Result<()> {
        self.namespace.sysctl(setting, value)
    }

    /// Loads nftables rules. With rules of NAT the host's kernel tracks connections.
    pub fn nft(&self, rules: &str) -> Result<()> {
        let mut nft = self.command("nft");
        tool::run_with_input(nft.args(["-f", "-"]), rules)
            .map(drop)
            .with_context(|| format!("on the {}", self.role))
    }

    /// Sets offloads of `interface`, e.g. `["gro", "on"]` (`ethtool -K`).
    pub fn ethtool_features(&self, interface: &str, features: &[&str]) -> Result<()> {
        let mut command = self.command("ethtool");
        command.args(["-K", interface]).args(features);
        self.output(&mut command).map(drop)
    }
}
