//! What a lab and the firewalls in it leave traces of in the system, to check that nothing is left.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use firewall_user::object::os_error;

use crate::{cleanup, host::Host, namespace, tool};

/// The network namespaces of the lab called `lab`.
pub fn namespaces(lab: &str) -> Vec<String> {
    let prefix = format!("{lab}-");
    fs::read_dir(namespace::DIRECTORY)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// The directories and files in bpffs that bear the name of `instance`.
pub fn pins(instance: &str) -> Vec<PathBuf> {
    // fwx/LAYOUT/INSTANCE, and room for one more level.
    const DEPTH: u32 = 3;
    let mut found = Vec::new();
    find_named(Path::new(cleanup::PINS), OsStr::new(instance), DEPTH, &mut found);
    found
}

/// The ids of the BPF programs attached to `interface` of `host`: XDP, TC and TCX, both directions.
pub fn attached_programs(host: &Host, interface: &str) -> Result<BTreeSet<u32>> {
    let mut ids = xdp_programs(host, interface)?;
    for direction in ["ingress", "egress"] {
        ids.extend(tc_programs(host, interface, direction)?);
    }
    for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
        match host.run(|| SchedClassifier::query_tcx(interface, direction))? {
            Ok((_, programs)) => ids.extend(programs.iter().map(aya::programs::ProgramInfo::id)),
            // A kernel that has none.
            Err(error) if os_error(&error) == Some(libc::EINVAL) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot ask for TCX programs of {interface}"));
            }
        }
    }
    Ok(ids)
}

/// Those of the programs `ids` that the kernel still has.
pub fn still_loaded(ids: &BTreeSet<u32>) -> BTreeSet<u32> {
    // A program that goes while the list is read is no error.
    aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .map(|program| program.id())
        .filter(|id| ids.contains(id))
        .collect()
}

fn xdp_programs(host: &Host, interface: &str) -> Result<BTreeSet<u32>> {
    let mut ip = host.command("ip");
    ip.args(["-json", "link", "show", "dev", interface]);
    // "xdp":{"mode":1,"prog":{"id":7,…},"attached":[{"mode":1,"prog":{"id":7,…}}]}
    Ok(program_ids(&json(host, &mut ip)?, "xdp"))
}

fn tc_programs(host: &Host, interface: &str, direction: &str) -> Result<BTreeSet<u32>> {
    let mut tc = host.command("tc");
    tc.args(["-json", "filter", "show", "dev", interface, direction]);
    // "options":{…,"prog":{"id":7,…}}
    Ok(program_ids(&json(host, &mut tc)?, "options"))
}

fn json(host: &Host, command: &mut std::process::Command) -> Result<serde_json::Value> {
    let line = tool::command_line(command);
    let text = host.output(command)?;
    // `tc` prints nothing at all when there is nothing.
    let text = if text.trim().is_empty() { "[]" } else { &text };
    serde_json::from_str(text).with_context(|| format!("`{line}` printed no JSON: {text}"))
}

/// The numbers found as `"prog":{"id":N}` anywhere below a member called `member`.
fn program_ids(value: &serde_json::Value, member: &str) -> BTreeSet<u32> {
    fn collect(value: &serde_json::Value, inside: bool, member: &str, ids: &mut BTreeSet<u32>) {
        match value {
            serde_json::Value::Array(items) => {
                items.iter().for_each(|item| collect(item, inside, member, ids));
            }
            serde_json::Value::Object(members) => {
                for (name, item) in members {
                    let id = item.get("id").and_then(serde_json::Value::as_u64);
                    if inside && name == "prog" {
                        ids.extend(id.and_then(|id| u32::try_from(id).ok()));
                    }
                    collect(item, inside || name == member, member, ids);
                }
            }
            _ => (),
        }
    }
    let mut ids = BTreeSet::new();
    collect(value, false, member, &mut ids);
    ids
}

fn find_named(directory: &Path, name: &OsStr, depth: u32, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_named(&entry.path(), name, depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_ids_are_found_where_iproute2_puts_them() {
        let link = serde_json::json!([{
            "ifname": "lan0",
            "xdp": {"mode": 4, "attached": [
                {"mode": 1, "prog": {"id": 7, "name": "fwx"}},
                {"mode": 2, "prog": {"id": 8}},
            ]},
            "other": {"prog": {"id": 9}},
        }]);
        assert_eq!(program_ids(&link, "xdp"), BTreeSet::from([7, 8]));
    }
}
