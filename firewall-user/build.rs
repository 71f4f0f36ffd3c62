//! Puts the kernel programs, built by `cargo xtask build`, where the crate embeds them from.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it for build scripts"));
    let object = target_dir(&out_dir).join("bpf/fwx.bpf.o");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", object.display());

    if !object.exists() {
        println!(
            "cargo::error=the kernel programs are not built ({} is missing): run `cargo xtask build`",
            object.display()
        );
    } else if let Err(error) = fs::copy(&object, out_dir.join("fwx.bpf.o")) {
        println!("cargo::error=could not copy {}: {error}", object.display());
    }
}

/// The target directory, which cargo does not tell to build scripts. `OUT_DIR` is
/// `TARGET_DIR/[TRIPLE/]PROFILE/build/…`, with the triple when `--target` is given.
fn target_dir(out_dir: &Path) -> &Path {
    let build = out_dir
        .ancestors()
        .find(|directory| directory.ends_with("build"))
        .unwrap_or_else(|| panic!("OUT_DIR has no directory `build`: {}", out_dir.display()));
    let above_profile = build.ancestors().nth(2).expect("PROFILE/build is in a directory");
    let triple = env::var_os("TARGET").expect("cargo sets it for build scripts");
    if above_profile.ends_with(triple) {
        above_profile.parent().expect("TRIPLE is in a directory")
    } else {
        above_profile
    }
}
