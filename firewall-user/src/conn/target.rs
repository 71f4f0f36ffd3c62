//! One connection, named by its number or by its endpoints.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use anyhow::{Result, bail};

use super::select::ip_protocols;
use crate::{
    bad_input,
    flows::{Entry, FlowTable},
    tables::Tables,
};

/// How a connection is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its number.
    Id(u64),
    /// By its endpoints, in either order, before or after translation.
    Tuple {
        /// IP protocols, if they were given.
        protocols: Option<Vec<u8>>,
        /// Port 0: not given.
        ends: [SocketAddr; 2],
    },
}

impl Target {
    /// What `words` name: `4097`; `10.1.0.2:40000 10.2.0.2:554`; or as events show it,
    /// `tcp 10.1.0.2:40000 -> 10.2.0.2:554`.
    ///
    /// # Errors
    ///
    /// Anything else: bad input.
    pub fn parse(words: &[String]) -> Result<Self> {
        let text = words.join(" ");
        let words: Vec<_> = text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty() && *word != "->")
            .collect();
        let (protocols, ends) = match words[..] {
            [id] if id.bytes().all(|byte| byte.is_ascii_digit()) => match id.parse() {
                Ok(id) => return Ok(Self::Id(id)),
                Err(_) => bad_input!("{id}: no connection has such a number"),
            },
            [a, b] => (None, [a, b]),
            [protocol, a, b] => match ip_protocols(protocol) {
                Some(protocols) => (Some(protocols), [a, b]),
                None => bad_input!("{protocol}: not tcp, udp, icmp, or a number from 0 to 255"),
            },
            _ => bad_input!(
                "{text:?} names no connection: give its number, or its ends, such as \
                 10.1.0.2:40000 10.2.0.2:554"
            ),
        };
        let [a, b] = ends.map(end);
        Ok(Self::Tuple { protocols, ends: [a?, b?] })
    }

    fn names(&self, entry: &Entry) -> bool {
        match self {
            Self::Id(id) => entry.flow.id == *id,
            Self::Tuple { protocols, ends: [a, b] } => {
                let [source, destination] = entry.endpoints();
                let protocol = entry.key.protocol();
                protocols.as_ref().is_none_or(|protocols| protocols.contains(&protocol))
                    && (is(a, source) && is(b, destination) || is(b, source) && is(a, destination))
            }
        }
    }
}

/// The connection that `target` names.
///
/// # Errors
///
/// There is none, or there are several.
pub fn find(tables: &Tables, target: &Target) -> Result<Entry> {
    let mut flows: Vec<Entry> = Vec::new();
    let mut translated = HashSet::new();
    for table in FlowTable::ALL {
        tables.each_entry(table, |entry| {
            if target.names(entry) {
                if entry.alias().is_some() {
                    translated.insert(entry.flow.id);
                } else {
                    note(&mut flows, entry);
                }
            }
        })?;
    }
    if flows.is_empty() && !translated.is_empty() {
        for table in FlowTable::ALL {
            tables.each_entry(table, |entry| {
                if entry.alias().is_none() && translated.contains(&entry.flow.id) {
                    note(&mut flows, entry);
                }
            })?;
        }
    }
    match flows[..] {
        [found] => Ok(found),
        [] => {
            bail!("there is no such connection: `fwx conn list --half-open` shows those there are")
        }
        _ => {
            let ids: Vec<_> = flows.iter().map(|entry| entry.flow.id.to_string()).collect();
            bail!("that names several connections: give the number of one, {}", ids.join(", "))
        }
    }
}

fn note(flows: &mut Vec<Entry>, entry: &Entry) {
    // Met twice if it got its answer meanwhile: what was read last counts.
    flows.retain(|known| known.flow.id != entry.flow.id);
    flows.push(*entry);
}

fn end(text: &str) -> Result<SocketAddr> {
    let address = || IpAddr::from_str(text.trim_start_matches('[').trim_end_matches(']')).ok();
    match text.parse().ok().or_else(|| Some(SocketAddr::new(address()?, 0))) {
        Some(end) => Ok(end),
        None => {
            bad_input!("{text}: not an address with a port, such as 10.1.0.2:554 or [fd00::2]:554")
        }
    }
}

/// Whether an end is the one that is meant. Without a port every one is.
fn is(meant: &SocketAddr, end: SocketAddr) -> bool {
    meant.ip() == end.ip() && (meant.port() == 0 || meant.port() == end.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target> {
        Target::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_number_or_two_ends() {
        assert_eq!(parse("4097").unwrap(), Target::Id(4097));
        let ends = |a: &str, b: &str| [a.parse().unwrap(), b.parse().unwrap()];
        for (text, protocols, ends) in [
            ("10.1.0.2:4 10.2.0.2:5", None, ends("10.1.0.2:4", "10.2.0.2:5")),
            ("10.1.0.2:4,10.2.0.2:5", None, ends("10.1.0.2:4", "10.2.0.2:5")),
            ("tcp [fd00::2]:4 -> [fd00::3]:5", Some(vec![6]), ends("[fd00::2]:4", "[fd00::3]:5")),
            ("icmp fd00::2 [fd00::3]", Some(vec![1, 58]), ends("[fd00::2]:0", "[fd00::3]:0")),
            ("47 10.1.0.2 10.2.0.2", Some(vec![47]), ends("10.1.0.2:0", "10.2.0.2:0")),
        ] {
            assert_eq!(parse(text).unwrap(), Target::Tuple { protocols, ends }, "{text}");
        }
        for text in ["", "x", "10.1.0.2:4", "10.1.0.2:4 10.2.0.2:x", "ftp 10.1.0.2 10.2.0.2", "-1"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.is::<crate::error::BadInput>(), "{text}");
        }
    }
}
