//! Where things are in this repository, and building what runs on the host.

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process;

/// Cargo's profile for what runs on the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Absolute, and cargo's own answer: a variable or a configuration file may have moved it.
    pub(crate) target_dir: PathBuf,
}

impl Workspace {
    pub(crate) fn locate() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut metadata = Command::new(host_cargo());
        metadata.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]);
        metadata.arg(here.join("Cargo.toml"));
        let metadata = process::output(&mut metadata)?;
        let metadata: Value =
            serde_json::from_str(&metadata).context("`cargo metadata` printed no JSON")?;
        let path = |field: &str| -> Result<PathBuf> {
            let value = metadata[field].as_str();
            Ok(value.with_context(|| format!("`cargo metadata` printed no {field}"))?.into())
        };
        Ok(Self { root: path("workspace_root")?, target_dir: path("target_directory")? })
    }

    /// The cargo that runs us, for everything that runs on the host.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(host_cargo());
        // The working directory changes, so a relative target directory would change with it.
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target_dir);
        cargo
    }

    /// The kernel programs' crate. It is no member of the workspace: other target, other compiler.
    pub(crate) fn ebpf_crate(&self) -> PathBuf {
        self.root.join("firewall-ebpf")
    }

    /// The manifest of the fuzz targets' crate, which is no member either.
    pub(crate) fn fuzz_manifest(&self) -> PathBuf {
        self.root.join("fuzz/Cargo.toml")
    }

    /// What the build script of firewall-user embeds; it derives the same path.
    pub(crate) fn bpf_object(&self) -> PathBuf {
        self.target_dir.join("bpf/fwx.bpf.o")
    }

    /// Builds one binary and asks cargo where it is.
    pub(crate) fn build_executable(
        &self,
        package: &str,
        binary: &str,
        profile: Profile,
    ) -> Result<PathBuf> {
        let mut cargo = self.cargo();
        cargo.args(["build", "--package", package, "--bin", binary]);
        if profile == Profile::Release {
            cargo.arg("--release");
        }
        let mut built = executables(cargo, &[binary])?;
        built.pop().with_context(|| format!("cargo did not say where it put {binary}"))
    }

    /// Builds test programs of a package and asks cargo where they are, in the order of `names`.
    pub(crate) fn build_tests(&self, package: &str, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut cargo = self.cargo();
        cargo.args(["test", "--no-run", "--package", package]);
        for name in names {
            cargo.args(["--test", name]);
        }
        executables(cargo, names)
    }
}

/// Runs a command of cargo's that builds executables called `names`, and returns their paths in that order.
fn executables(mut cargo: Command, names: &[&str]) -> Result<Vec<PathBuf>> {
    let shown = process::shown(&cargo);
    // Diagnostics still go to standard error as text; only artifacts come as JSON.
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = cargo.spawn().with_context(|| format!("could not start `{shown}`"))?;

    let mut found = vec![None; names.len()];
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.with_context(|| format!("could not read what `{shown}` prints"))?;
        for (name, path) in names.iter().zip(&mut found) {
            *path = artifact(&line, name).or(path.take());
        }
    }
    let status = child.wait().with_context(|| format!("lost sight of `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    let found = names.iter().zip(found).map(|(name, path)| {
        path.with_context(|| format!("`{shown}` did not say where it put {name}"))
    });
    found.collect()
}

/// Cargo names itself to what it runs, so that a child of `cargo +NAME` uses the same one.
pub(crate) fn host_cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The path of `binary` if this line of cargo's messages reports it as built.
fn artifact(line: &str, binary: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["target"]["name"] != binary {
        return None;
    }
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_artifact_among_cargos_messages() {
        let built =
            r#"{"reason":"compiler-artifact","target":{"name":"fwx"},"executable":"/t/fwx"}"#;
        assert_eq!(artifact(built, "fwx"), Some(PathBuf::from("/t/fwx")));
        assert_eq!(artifact(built, "demo"), None);
        for other in [
            r#"{"reason":"compiler-artifact","target":{"name":"fwx"},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "not JSON",
        ] {
            assert_eq!(artifact(other, "fwx"), None, "{other}");
        }
    }
}
