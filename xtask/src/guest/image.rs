//! The guest's file system: an archive that its kernel unpacks into memory
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel).

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    kernel::Kernel,
    tools::{Tools, libraries},
};
use crate::process;

const INIT: &str = include_str!("init.sh");

/// Where the file systems of the kernel's own are mounted, and the rest of what programs expect.
const DIRECTORIES: [&str; 8] =
    ["bin", "dev", "guest/bin", "guest/modules", "proc", "run", "sys", "tmp"];

/// Modules of the kernel's that are loaded, below its directory of modules, each behind those that it needs.
const MODULES: [&str; 21] = [
    "drivers/net/veth.ko",
    "net/sched/cls_bpf.ko",
    "net/sched/sch_ingress.ko",
    // Tunnels.
    "net/ipv4/tunnel4.ko",
    "net/ipv4/ip_tunnel.ko",
    "net/ipv4/ipip.ko",
    "net/ipv4/gre.ko",
    "net/ipv4/ip_gre.ko",
    "net/ipv6/tunnel6.ko",
    "net/ipv6/ip6_tunnel.ko",
    "net/ipv6/ip6_gre.ko",
    "net/ipv6/sit.ko",
    // WireGuard.
    "net/ipv4/udp_tunnel.ko",
    "net/ipv6/ip6_udp_tunnel.ko",
    "lib/crypto/libcurve25519-generic.ko",
    "arch/x86/crypto/curve25519-x86_64.ko",
    "arch/x86/crypto/poly1305-x86_64.ko",
    "lib/crypto/libchacha.ko",
    "arch/x86/crypto/chacha-x86_64.ko",
    "lib/crypto/libchacha20poly1305.ko",
    "drivers/net/wireguard/wireguard.ko",
];

/// What the guest gets of this machine.
pub(super) struct Content<'a> {
    /// Programs to run; each lies in the guest as `/guest/NAME`.
    pub(super) programs: &'a [(&'a str, PathBuf)],
    /// Tools that they call by name.
    pub(super) tools: &'a [PathBuf],
    /// Script that runs the programs.
    pub(super) script: &'a str,
}

/// Makes the archive in `directory` anew and returns its path.
pub(super) fn build(
    directory: &Path,
    kernel: &Kernel,
    tools: &Tools,
    content: &Content<'_>,
) -> Result<PathBuf> {
    let root = directory.join("root");
    if root.is_dir() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    for path in DIRECTORIES.map(|path| root.join(path)) {
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    copy(&tools.busybox(), &root.join("bin/busybox"))?;
    for (number, module) in MODULES.into_iter().enumerate() {
        // The guest loads them in the order of their names.
        let file = Path::new(module).file_name().unwrap_or(OsStr::new(module)).display();
        let file = format!("{number:02}-{file}");
        copy(&kernel.modules.join(module), &root.join("guest/modules").join(file))?;
    }
    for (name, program) in content.programs {
        // What debuggers want to know is nine tenths of a program.
        let mut strip = Command::new("strip");
        strip.arg("--strip-debug").arg("-o").arg(root.join("guest").join(name)).arg(program);
        process::run(&mut strip)?;
    }
    for tool in content.tools {
        let name = tool.file_name().context("a tool has a name")?;
        copy(tool, &root.join("guest/bin").join(name))?;
    }
    let programs: Vec<PathBuf> =
        content.programs.iter().map(|(_, program)| program.clone()).collect();
    for library in libraries(&[programs, content.tools.to_vec()].concat())? {
        copy(&library, &below(&root, &library))?;
    }
    write_program(&root.join("init"), INIT)?;
    write_program(&root.join("guest/tests"), content.script)?;
    pack(&root, tools)
}

/// Packs `root` up, beside it.
fn pack(root: &Path, tools: &Tools) -> Result<PathBuf> {
    let archive = root.with_file_name("initramfs");
    let mut sh = Command::new(tools.busybox());
    sh.args(["sh", "-c", "find . | cpio -o -H newc -R 0:0 >\"$1\" 2>/dev/null", "sh"]);
    process::run(sh.arg(&archive).current_dir(root))?;
    Ok(archive)
}

/// The place in the guest of what has an absolute path here.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))
}
