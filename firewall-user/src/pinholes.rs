//! Pinholes: flows that connections announced to a filter, and the sessions that they belong to.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Result;
use aya::maps::{HashMap as KernelHashMap, MapData, MapError};
use firewall_common::filter::pinhole::{Pinhole, PinholeKey, Session};
use serde::Serialize;

use crate::{
    event::{Names, named, transport},
    flows::Entry,
    tables::{Tables, ignore_missing},
};

const SECOND: u64 = 1_000_000_000;
/// For how long the session of a killed connection is kept, so that packets of its flows lead back to the kill.
const KILLED_NS: u64 = 120 * SECOND;

/// A pinhole that is open.
#[derive(Clone, Debug, Serialize)]
pub struct Open {
    /// Number of the flow that announced it.
    pub parent: u64,
    /// `udp` or `tcp`.
    pub transport: String,
    /// Address that the first packet has to come from.
    pub src_ip: IpAddr,
    /// Port that it has to come from; left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Address that it has to go to.
    pub dst_ip: IpAddr,
    /// Port that it has to go to.
    pub dst_port: u16,
    /// It is for one flow, and closed once that has begun.
    pub once: bool,
    /// Protocol of the connection that announced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Rule that let that connection in; left out: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Seconds since it was opened.
    pub age_s: u64,
    /// Seconds until it is closed, if its session gives no sign of life.
    pub expires_in_s: u64,
}

/// The sessions of an instance.
pub type Sessions = KernelHashMap<MapData, u64, Session>;

/// Opens the table of sessions.
pub fn sessions(tables: &Tables) -> Result<Sessions> {
    tables.open("SESSIONS")
}

/// The pinholes that are open at `now`, those that were opened first come first.
pub fn open(tables: &Tables, names: &Names, now: u64) -> Result<Vec<Open>> {
    let sessions = sessions(tables)?;
    let pinholes: KernelHashMap<MapData, PinholeKey, Pinhole> = tables.open("PINHOLES")?;
    let mut list = Vec::new();
    for entry in pinholes.iter() {
        let (key, pinhole) = entry?;
        if let Some(session) = live(&sessions, pinhole.session, now)? {
            list.push((pinhole.opened, Open::of(&key, &pinhole, &session, names, now)));
        }
    }
    list.sort_by_key(|(opened, open)| (*opened, open.dst_port));
    Ok(list.into_iter().map(|(_, open)| open).collect())
}

fn live(sessions: &Sessions, key: u64, now: u64) -> Result<Option<Session>> {
    match sessions.get(&key, 0) {
        Ok(session) => Ok((!session.is_over(now)).then_some(session)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Open {
    fn of(key: &PinholeKey, pinhole: &Pinhole, session: &Session, names: &Names, now: u64) -> Self {
        let silent = session.last_seen.saturating_add(session.timeout);
        let until = if session.ends_at == 0 { silent } else { silent.min(session.ends_at) };
        Self {
            parent: session.parent,
            transport: transport(key.transport),
            src_ip: address(key.version, key.source),
            src_port: (pinhole.source_port != 0).then_some(pinhole.source_port),
            dst_ip: address(key.version, key.destination),
            dst_port: key.port,
            once: pinhole.once != 0,
            protocol: named(&names.protocols, session.protocol as usize),
            rule: named(&names.rules, pinhole.rule as usize),
            age_s: now.saturating_sub(pinhole.opened) / SECOND,
            expires_in_s: until.saturating_sub(now) / SECOND,
        }
    }
}

/// The pinholes for people.
pub fn table(list: &[Open]) -> String {
    if list.is_empty() {
        return "no pinhole is open\n".to_owned();
    }
    let mut text = format!(
        "{:<12} {:<9} {:<26} {:<26} {:>7} {:>7}  {:<10} RULE\n",
        "PARENT", "TRANSPORT", "SOURCE", "DESTINATION", "AGE", "EXPIRES", "PROTOCOL"
    );
    let end = |ip: IpAddr, port: Option<u16>| match (ip, port) {
        (ip, None) => format!("{ip}, any port"),
        (ip, Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
    };
    for open in list {
        text += &format!(
            "{:<12} {:<9} {:<26} {:<26} {:>6}s {:>6}s  {:<10} {}\n",
            open.parent,
            open.transport,
            end(open.src_ip, open.src_port),
            end(open.dst_ip, Some(open.dst_port)),
            open.age_s,
            open.expires_in_s,
            open.protocol.as_deref().unwrap_or("-"),
            open.rule.as_deref().unwrap_or("-"),
        );
    }
    text
}

/// What became of a flow that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// It goes on, or was not announced at all.
    GoesOn,
    /// What it belongs to has ended.
    Ended,
    /// The connection that announced it was killed: the number of the event that tells of it.
    Killed(u64),
}

/// What has become of a flow by `now`.
pub fn announced(sessions: &Sessions, entry: &Entry, now: u64) -> Result<Announced> {
    if !entry.is_announced() {
        return Ok(Announced::GoesOn);
    }
    match sessions.get(&entry.flow.kin, 0) {
        Ok(session) if !session.is_over(now) => Ok(Announced::GoesOn),
        Ok(Session { killed_by: 0, .. }) | Err(MapError::KeyNotFound) => Ok(Announced::Ended),
        Ok(session) => Ok(Announced::Killed(session.killed_by)),
        Err(error) => Err(error.into()),
    }
}

/// The flows that announced those of `entries` that were announced, by the number of the announced one.
pub fn parents<'a>(
    tables: &Tables,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<HashMap<u64, u64>> {
    let sessions = sessions(tables)?;
    let mut found = HashMap::new();
    for entry in entries {
        if entry.is_announced()
            && let Ok(session) = sessions.get(&entry.flow.kin, 0)
        {
            found.insert(entry.flow.id, session.parent);
        }
    }
    Ok(found)
}

/// Removes sessions that have ended at `now`, and pinholes that belong to none. The kernel uses neither: this
/// gives room back.
pub fn sweep(tables: &Tables, now: u64) -> Result<()> {
    // Pinholes first: one that is opened meanwhile has its session before.
    let mut pinholes: KernelHashMap<MapData, PinholeKey, Pinhole> = tables.open("PINHOLES")?;
    let known: Vec<_> = pinholes.iter().collect::<Result<_, _>>()?;
    let mut sessions = sessions(tables)?;
    for (key, pinhole) in known {
        if live(&sessions, pinhole.session, now)?.is_none() {
            ignore_missing(pinholes.remove(&key))?;
        }
    }
    let known: Vec<_> = sessions.iter().collect::<Result<_, _>>()?;
    for (key, session) in known {
        let kept = if session.killed_by == 0 { 0 } else { KILLED_NS };
        if session.is_over(now) && session.is_over(now.saturating_sub(kept)) {
            ignore_missing(sessions.remove(&key))?;
        }
    }
    Ok(())
}

fn address(version: u8, words: [u32; 4]) -> IpAddr {
    if version == 4 {
        Ipv4Addr::from(words[0].to_ne_bytes()).into()
    } else {
        Ipv6Addr::from(bytemuck::cast::<_, [u8; 16]>(words)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinhole_is_shown_with_what_it_belongs_to() {
        let key = PinholeKey {
            source: [u32::from_ne_bytes([10, 2, 0, 2]), 0, 0, 0],
            destination: [u32::from_ne_bytes([10, 1, 0, 2]), 0, 0, 0],
            port: 5000,
            transport: 17,
            version: 4,
        };
        let pinhole = Pinhole { session: 9, opened: 3 * SECOND, rule: 1, ..Pinhole::default() };
        let session = Session {
            parent: 7,
            last_seen: 5 * SECOND,
            timeout: 60 * SECOND,
            protocol: 1,
            ..Session::default()
        };
        let names = Names {
            protocols: vec!["rtsp".into()],
            rules: vec!["cameras".into()],
            ..Names::default()
        };
        let shown = |session: &Session| Open::of(&key, &pinhole, session, &names, 10 * SECOND);
        let open = shown(&session);
        assert_eq!((open.parent, open.age_s, open.expires_in_s), (7, 7, 55));
        let ending = Session { ends_at: 12 * SECOND, ..session };
        assert_eq!(shown(&ending).expires_in_s, 2);
        let text = table(&[open]);
        assert!(text.contains("10.2.0.2, any port"), "{text}");
        assert!(text.contains("10.1.0.2:5000") && text.contains("cameras"), "{text}");
    }
}
