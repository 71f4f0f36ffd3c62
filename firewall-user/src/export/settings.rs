//! What is sent where, as the policy says.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::events::Criteria;

/// One receiver, `[export.NAME]` of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What it is and where.
    #[serde(flatten)]
    pub target: Target,
    /// Only events of which this holds. Metrics and flow records are not selected.
    #[serde(default, rename = "where", skip_serializing_if = "Criteria::is_empty")]
    pub criteria: Criteria,
}

/// What receives, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Target {
    /// Prometheus, which comes to fetch metrics (its text format, by HTTP at `/metrics`).
    Prometheus {
        /// Where the controller listens.
        listen: SocketAddr,
    },
    /// A file of JSON lines, one for each event.
    Json {
        /// Its path. A file that was moved away or removed is made anew.
        file: PathBuf,
    },
    /// A syslog server (RFC 5424), one message for each event.
    Syslog {
        /// Where it listens.
        to: Endpoint,
        /// The facility of all messages.
        facility: Facility,
    },
    /// A collector of OpenTelemetry, by OTLP over HTTP: events as logs, and metrics.
    Otlp {
        /// Its address, `http://HOST:PORT`, to which `/v1/logs` and `/v1/metrics` are added.
        to: String,
        /// Seconds between two times that metrics are sent.
        interval_s: u64,
    },
    /// A collector of flow records (IPFIX, RFC 7011): one for each flow that ended.
    Ipfix {
        /// Where it listens.
        to: Endpoint,
        /// The observation domain's number.
        domain: u32,
    },
}

impl Target {
    /// Where it is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::Prometheus { listen } => listen.to_string(),
            Self::Json { file } => file.display().to_string(),
            Self::Syslog { to, .. } | Self::Ipfix { to, .. } => to.to_string(),
            Self::Otlp { to, .. } => to.clone(),
        }
    }

    /// What the policy calls this kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Prometheus { .. } => "prometheus",
            Self::Json { .. } => "json",
            Self::Syslog { .. } => "syslog",
            Self::Otlp { .. } => "otlp",
            Self::Ipfix { .. } => "ipfix",
        }
    }
}

/// Where a receiver listens: `udp://HOST:PORT`, `tcp://HOST:PORT` or `unix:///PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    /// At a host's port.
    Host {
        /// By which protocol.
        transport: Transport,
        /// Its name or address; an IPv6 address without brackets. A name is looked up with each connection.
        host: String,
        /// Its port.
        port: u16,
    },
    /// At a Unix socket for datagrams.
    Unix(PathBuf),
}

/// By which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// What is wrong with the text of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH; an IPv6 address stands in brackets"
)]
pub struct NoEndpoint;

impl std::str::FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let (scheme, rest) = text.split_once("://").ok_or(NoEndpoint)?;
        let transport = match scheme {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "unix" if rest.len() > 1 && rest.starts_with('/') => {
                return Ok(Self::Unix(rest.into()));
            }
            _ => return Err(NoEndpoint),
        };
        let (host, port) = rest.rsplit_once(':').ok_or(NoEndpoint)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(NoEndpoint)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => {
                address.parse::<std::net::Ipv6Addr>().map_err(|_| NoEndpoint)?;
                address
            }
            None => host,
        };
        let bracketed = rest.starts_with('[');
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if host.is_empty() || !bracketed && !host.bytes().all(in_name) {
            return Err(NoEndpoint);
        }
        Ok(Self::Host { transport, host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(to, "unix://{}", path.display()),
            Self::Host { transport, host, port } => {
                let scheme = match transport {
                    Transport::Udp => "udp",
                    Transport::Tcp => "tcp",
                };
                if host.contains(':') {
                    write!(to, "{scheme}://[{host}]:{port}")
                } else {
                    write!(to, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = NoEndpoint;

    fn try_from(text: String) -> Result<Self, NoEndpoint> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

/// A syslog facility (RFC 5424, table 1), by the name that syslog.conf(5) gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Facility {
    /// System daemons, 3.
    Daemon = 3,
    /// Security, 4.
    Auth = 4,
    /// Security, private, 10.
    Authpriv = 10,
    /// Local use 0, 16.
    Local0 = 16,
    /// Local use 1, 17.
    Local1 = 17,
    /// Local use 2, 18.
    Local2 = 18,
    /// Local use 3, 19.
    Local3 = 19,
    /// Local use 4, 20.
    Local4 = 20,
    /// Local use 5, 21.
    Local5 = 21,
    /// Local use 6, 22.
    Local6 = 22,
    /// Local use 7, 23.
    Local7 = 23,
}

impl Facility {
    /// Every facility that can be chosen, and its name.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Daemon, "daemon"),
        (Self::Auth, "auth"),
        (Self::Authpriv, "authpriv"),
        (Self::Local0, "local0"),
        (Self::Local1, "local1"),
        (Self::Local2, "local2"),
        (Self::Local3, "local3"),
        (Self::Local4, "local4"),
        (Self::Local5, "local5"),
        (Self::Local6, "local6"),
        (Self::Local7, "local7"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_as_it_is_written() {
        for text in [
            "udp://192.0.2.7:514",
            "tcp://log.example.net:601",
            "tcp://[2001:db8::7]:601",
            "unix:///dev/log",
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "192.0.2.7:514",
            "http://192.0.2.7:514",
            "udp://192.0.2.7",
            "udp://:514",
            "udp://192.0.2.7:0",
            "udp://192.0.2.7:65536",
            "udp://2001:db8::7:514",
            "udp://[192.0.2.7]:514",
            "udp://a b:514",
            "unix://dev/log",
            "unix:///",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(NoEndpoint), "{text}");
        }
    }
}
