//! Building the kernel programs, and putting the object where firewall-user embeds it from.

use std::{env::consts::ARCH, ffi::OsString, fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{process, setup::Ready, toolchain::Toolchain, workspace::Workspace};

/// BPF programs run in the byte order of their machine.
const TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// The name of the binary in firewall-ebpf.
const BINARY: &str = "fwx-bpf";

/// Leaves the object at [`Workspace::bpf_object`]. Whether anything must be compiled is cargo's to
/// find out.
pub(crate) fn build(workspace: &Workspace, ready: &Ready) -> Result<()> {
    let Toolchain { cargo, rustc, .. } = &ready.toolchain;
    let target_dir = workspace.target_dir.join("bpf-build");
    let mut command = process::isolated(cargo);
    command
        .current_dir(workspace.ebpf_crate())
        .args(["build", "--release", "-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTC", rustc)
        // Debian's compiler is a stable release; `build-std` and the BPF target need more.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&ready.linker));
    process::run(&mut command).context("the kernel programs could not be built")?;

    let built = target_dir.join(TARGET).join("release").join(BINARY);
    publish(&built, &workspace.bpf_object())
}

/// The flags that matter, joined as cargo wants them: a path may contain spaces.
fn rustflags(linker: &Path) -> OsString {
    let mut linker_flag = OsString::from("-Clinker=");
    linker_flag.push(linker);
    let flags: [OsString; 6] = [
        // aya-ebpf picks its register layouts of kernel structures by this.
        format!("--cfg=bpf_target_arch=\"{}\"", aya_arch(ARCH)).into(),
        linker_flag,
        // BTF is made from debug information, and bpf_loop's callback cannot do without either.
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Headers lie unaligned in a packet. Without this each of their words is put together from
        // bytes, which doubled the cost of parsing; the kernel allows it wherever the processor does.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".into(),
        // 32-bit arithmetic and jumps, atomics with a result: in kernels since 5.12. The compiler
        // hands it on to the linker, which refuses to hear it twice.
        "-Ctarget-cpu=v3".into(),
    ];
    flags.join(&OsString::from("\x1f"))
}

/// The processor's name as aya-ebpf spells it.
fn aya_arch(arch: &str) -> &str {
    match arch {
        // Rust has one name for each set of extensions.
        riscv if riscv.starts_with("riscv64") => "riscv64",
        other => other,
    }
}

/// Copies only what differs: a new time stamp would have fwx rebuilt for nothing.
fn publish(built: &Path, object: &Path) -> Result<()> {
    let new = fs::read(built)
        .with_context(|| format!("the build left no kernel object at {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(object.parent().expect("it is in a directory"))?;
        // A build script that runs meanwhile sees the old object or the new one, never half.
        let draft = object.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&draft, &new)?;
        fs::rename(&draft, object)
    };
    write().with_context(|| format!("could not write the kernel object {}", object.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_keep_a_linker_path_with_spaces_in_one_piece() {
        let flags = rustflags(Path::new("/home/a user/bpf-linker"));
        let flags = flags.to_str().unwrap();
        assert!(flags.split('\x1f').any(|flag| flag == "-Clinker=/home/a user/bpf-linker"));
    }

    #[test]
    fn riscv_has_one_name() {
        assert_eq!(aya_arch("riscv64gc"), "riscv64");
        assert_eq!(aya_arch("x86_64"), "x86_64");
    }
}
