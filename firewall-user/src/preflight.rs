//! Whether fwx can work here, asked before it does anything.

use anyhow::Result;
use nix::unistd::geteuid;
use serde::Serialize;

use crate::{
    attach, bpffs,
    link::{self, Begins},
    memory,
    object::{self, Purpose},
    policy::TableSizes,
};

/// The answer.
#[derive(Debug, Serialize)]
pub struct Preflight {
    /// Whether everything that must be is.
    pub ready: bool,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// `ok`, `note` or `failed`.
    pub result: &'static str,
    /// What was found, and if it failed, what to do.
    pub detail: String,
}

/// Looks at the machine and at one interface. Attaches nothing, pins nothing.
pub async fn preflight(interface: &str) -> Result<Preflight> {
    let found = link::find(interface).await?;
    let mut checks = Vec::new();
    let mut add = |name, good: bool, detail: String| {
        checks.push(Check { name, result: if good { "ok" } else { "failed" }, detail });
    };
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let new_enough = at_least(&release, 6, 1);
    add(
        "kernel",
        new_enough,
        if new_enough {
            format!("Linux {release}")
        } else {
            format!("Linux {release}; fwx needs 6.1 or newer")
        },
    );
    let root = geteuid().is_root();
    add("root", root, if root { "yes".into() } else { "no: run fwx as root".into() });
    let btf = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    add(
        "btf",
        btf,
        if btf {
            "the kernel describes its types".into()
        } else {
            "no /sys/kernel/btf/vmlinux: the kernel needs CONFIG_DEBUG_INFO_BTF".into()
        },
    );
    let mounted = bpffs::is_mounted();
    let private = !mounted && bpffs::in_private_mounts();
    checks.push(Check {
        name: "bpffs",
        result: match (mounted, private) {
            (true, _) => "ok",
            (false, true) => "failed",
            (false, false) => "note",
        },
        detail: if mounted {
            format!("mounted on {}", bpffs::ROOT)
        } else if private {
            "this mount namespace goes with this command; use nsenter --net=/run/netns/NAME, not \
             `ip netns exec`"
                .to_owned()
        } else {
            format!("not mounted; `fwx up` and `fwx run` mount it on {}", bpffs::ROOT)
        },
    });
    checks.push(programs());
    checks.push(Check {
        name: "interface",
        result: if found.begins == Begins::Otherwise { "failed" } else { "ok" },
        detail: format!(
            "{} is interface {}, {}, MTU {}{}",
            found.name,
            found.index,
            found
                .kind
                .as_deref()
                .map_or("a network card".to_owned(), |kind| format!("a {kind} link")),
            found.mtu,
            match found.begins {
                Begins::Ethernet => "",
                Begins::Ip => "; its packets have no Ethernet header",
                Begins::Otherwise =>
                    "; its packets begin with neither an Ethernet nor an IP header",
            }
        ),
    });
    let (mode, why) = attach::preferred(&found);
    checks.push(Check {
        name: "mode",
        result: "ok",
        detail: format!("auto tries {mode} first: {why}"),
    });
    let (result, detail) = match attach::tc_means(&found) {
        Ok(means) => ("ok", format!("traffic control by {means}")),
        Err(error) => ("failed", format!("{error:#}")),
    };
    checks.push(Check { name: "egress", result, detail });
    checks.push(memory());
    let ready = checks.iter().all(|check| check.result != "failed");
    Ok(Preflight { ready, checks })
}

/// Gives the programs to the verifier, with the smallest tables.
fn programs() -> Check {
    let sizes = TableSizes { completed: 1, half_open: 256 };
    let loaded = object::load(Purpose::Bench, sizes).and_then(|mut ebpf| {
        object::load_without_ethernet(&mut ebpf)?;
        Ok(ebpf)
    });
    let (result, detail) = match loaded {
        Ok(ebpf) => {
            let told: Vec<_> = ebpf
                .programs()
                .filter_map(|(name, program)| {
                    let count = program.info().ok()?.verified_instruction_count()?;
                    Some(format!("{name} {count}"))
                })
                .collect();
            (
                "ok",
                format!(
                    "the verifier accepts them; instructions it processed: {}",
                    told.join(", ")
                ),
            )
        }
        Err(error) => ("failed", format!("{error:#}")),
    };
    Check { name: "programs", result, detail }
}

fn memory() -> Check {
    let sizes = TableSizes::default();
    let TableSizes { completed, half_open } = sizes;
    Check {
        name: "memory",
        result: "ok",
        detail: format!(
            "flow tables take {} MiB unless the policy says otherwise: {completed} completed and {half_open} \
             half-open flows of each address family",
            memory::flow_tables(sizes) >> 20
        ),
    }
}

impl Preflight {
    /// The answer for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Check { name, result, detail } in &self.checks {
            text += &format!("{result:<7}{name:<10} {detail}\n");
        }
        text + if self.ready { "ready\n" } else { "not ready\n" }
    }
}

fn at_least(release: &str, major: u32, minor: u32) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(found_major)), Some(Ok(found_minor))) => {
            (found_major, found_minor) >= (major, minor)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_compared_as_numbers() {
        assert!(at_least("6.18.44-generic", 6, 6));
        assert!(at_least("10.0.1", 6, 6));
        assert!(at_least("6.1.0-32-amd64", 6, 1));
        assert!(!at_least("6.1.0-32-amd64", 6, 6));
        assert!(!at_least("unknown", 6, 6));
    }
}
