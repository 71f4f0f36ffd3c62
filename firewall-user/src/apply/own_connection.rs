//! The administrator's own connection, which a change of the policy should not cut without a word.
//!
//! It is known by SSH_CONNECTION (ssh(1)): the client's address and port, then the server's. sudo(8) takes it out of
//! the environment, so those of the processes above are looked at too.

use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use firewall_common::{
    flow::{Alias, KeyV4, KeyV6},
    policy::Action,
    wire::{Packet, ip_protocol},
};
use serde::Serialize;

use super::live::Judge;
use crate::{
    conn::Finder,
    flows::{Entry, Key},
    policy::Live,
    tables::Tables,
    takeover::words,
};

const VARIABLE: &str = "SSH_CONNECTION";
/// How many processes above this one are looked at.
const ABOVE_MAX: usize = 64;

/// The administrator's connection, which the new policy would not let in.
#[derive(Clone, Debug, Serialize)]
pub struct OwnConnection {
    /// Where it comes from, as the gateway's packets have it.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// The rule that refuses it; left out: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Number of that rule; 0: the default.
    #[serde(skip)]
    pub rule_number: u16,
    /// It is ended, and not only could not come back.
    pub ends: bool,
}

impl OwnConnection {
    /// The connection by which this command was given, if it passes this firewall and the policy of `judge` would not
    /// let it in. One that is in none of the tables passes by: over an interface that the policy does not name, say.
    pub fn refused(judge: &Judge<'_>, tables: &Tables, live: Live) -> Result<Option<Self>> {
        let Some(ends) = of_this_session() else { return Ok(None) };
        let Some(entry) = find(tables, ends)? else { return Ok(None) };
        let [from, to] = entry.endpoints();
        let came_in_by = judge.came_in.of(&entry);
        let judgement = judge.judge(ip_protocol::TCP, [from, to], came_in_by);
        Ok((judgement.action != Action::Allow).then(|| Self {
            from,
            to,
            rule: None,
            rule_number: judgement.rule,
            ends: live != Live::Keep && !entry.flow.is_child(),
        }))
    }

    /// What would happen, for people.
    pub fn text(&self) -> String {
        let by = match &self.rule {
            Some(rule) => format!("rule {rule:?} refuses it"),
            None => "no rule lets it in, and the default refuses it".to_owned(),
        };
        let what = if self.ends {
            "this cuts your own connection"
        } else {
            "once your own connection ends it could not come back"
        };
        format!("{what}, tcp {} -> {}: {by}", self.from, self.to)
    }
}

/// Client and server of the SSH connection by which this process was started.
fn of_this_session() -> Option<[SocketAddr; 2]> {
    if let Ok(value) = env::var(VARIABLE) {
        return parse(&value);
    }
    let mut process = parent(std::process::id())?;
    for _ in 0..ABOVE_MAX {
        // One that has ended meanwhile, or that hides its environment, says nothing.
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        if let Some(value) = value_of(&environment) {
            return parse(&value);
        }
        process = parent(process)?;
    }
    None
}

fn value_of(environment: &[u8]) -> Option<String> {
    let mut variables = environment.split(|byte| *byte == 0);
    let value =
        variables.find_map(|it| it.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

/// The process that started another one, by proc_pid_stat(5). `None`: there is none above.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    parent_in(&stat).filter(|parent| *parent > 0)
}

/// The name of a program, in brackets, may have brackets and blanks of its own.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(1)?.parse().ok()
}

fn parse(value: &str) -> Option<[SocketAddr; 2]> {
    let words: Vec<_> = value.split_whitespace().collect();
    let [client, client_port, server, server_port] = words[..] else { return None };
    let end = |address: &str, port: &str| {
        // A link-local address has its interface behind it.
        let address = address.split('%').next()?.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(address.to_canonical(), port.parse().ok()?))
    };
    Some([end(client, client_port)?, end(server, server_port)?])
}

/// The flow of a TCP connection, which lies in the tables under this name or leads there.
fn find(tables: &Tables, [client, server]: [SocketAddr; 2]) -> Result<Option<Entry>> {
    let packet = Packet {
        protocol: ip_protocol::TCP,
        source: words(client.ip()),
        destination: words(server.ip()),
        source_port: client.port(),
        destination_port: server.port(),
        ..Packet::default()
    };
    let key = if client.is_ipv4() {
        Key::V4(KeyV4::of(&packet).key)
    } else {
        Key::V6(KeyV6::of(&packet).key)
    };
    let finder = Finder::open(tables)?;
    let entry = |key: Key| finder.get(&key).map(|flow| Entry { key, flow });
    let found = entry(key).and_then(|found| match Alias::of(&found.flow) {
        Some(alias) => entry(key.target(alias)).filter(|flow| flow.flow.id == alias.id),
        None => Some(found),
    });
    Ok(found.filter(|found| !found.flow.state().is_over()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_read() {
        let ends = |a: &str, b: &str| Some([a.parse().unwrap(), b.parse().unwrap()]);
        for (value, expected) in [
            ("10.1.0.2 40000 10.1.0.1 22", ends("10.1.0.2:40000", "10.1.0.1:22")),
            ("fd00:1::2 40000 fd00:1::1 22", ends("[fd00:1::2]:40000", "[fd00:1::1]:22")),
            ("fe80::2%lan0 40000 fe80::1%lan0 22", ends("[fe80::2]:40000", "[fe80::1]:22")),
            ("::ffff:10.1.0.2 40000 ::ffff:10.1.0.1 22", ends("10.1.0.2:40000", "10.1.0.1:22")),
            ("10.1.0.2 40000 10.1.0.1", None),
            ("here 40000 there 22", None),
            ("", None),
        ] {
            assert_eq!(parse(value), expected, "{value}");
        }
    }

    #[test]
    fn it_is_found_in_an_environment() {
        let environment = b"A=1\0SSH_CONNECTION_X=no\0SSH_CONNECTION=1 2 3 4\0B=";
        assert_eq!(value_of(environment).as_deref(), Some("1 2 3 4"));
        assert_eq!(value_of(b"A=SSH_CONNECTION=1\0"), None);
        assert_eq!(value_of(b""), None);
    }

    #[test]
    fn a_name_does_not_hide_the_parent() {
        assert_eq!(parent_in("12 (sh) S 11 12 12 0"), Some(11));
        assert_eq!(parent_in("12 (a) S 99 (b) R 7 1"), Some(7));
        assert_eq!(parent_in("12"), None);
        let started_by = parent(std::process::id());
        assert_eq!(started_by, Some(std::os::unix::process::parent_id()));
    }
}
