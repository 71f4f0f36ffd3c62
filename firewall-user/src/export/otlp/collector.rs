//! The collector: its address, and a request to it.
//!
//! The protocol is OTLP/HTTP with Protocol Buffers (OpenTelemetry Protocol Specification, "OTLP/HTTP"). A connection is kept
//! for the next request: each that begins and ends is an event or two of the gateway's own, which would be the next to send.

use std::{error::Error, fmt, str::FromStr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use prost::Message;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::{events::printable, export::health::Content};

/// Where a collector listens that says nothing else.
const DEFAULT_PORT: u16 = 4318;
/// The content type of requests and answers.
const PROTOBUF: &str = "application/x-protobuf";
/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 65_536;
/// Longest text of the collector's that is repeated, in characters.
const REASON_MAX: usize = 200;

/// Where a collector listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    host: String,
    port: u16,
    /// Without the slash at its end; may be empty.
    path: String,
}

/// What is wrong with the text of a collector's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write http://HOST:PORT or http://HOST:PORT/PATH, such as http://127.0.0.1:4318; there is no https, so let the \
     collector be near by"
)]
pub struct NoCollector;

impl FromStr for Collector {
    type Err = NoCollector;

    fn from_str(text: &str) -> Result<Self, NoCollector> {
        let uri: Uri = text.parse().map_err(|_| NoCollector)?;
        let authority = uri.authority().ok_or(NoCollector)?;
        let strange = authority.as_str().contains('@') || uri.query().is_some();
        if uri.scheme_str() != Some("http") || strange {
            return Err(NoCollector);
        }
        // What `Authority::port` cannot read it leaves out.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => DEFAULT_PORT,
            rest => rest
                .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
                .filter(|port| *port != 0)
                .ok_or(NoCollector)?,
        };
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(NoCollector);
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host: host.to_owned(), port, path })
    }
}

impl Collector {
    /// Its name or address, that of IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// `HOST:PORT`.
impl fmt::Display for Collector {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(to, "[{host}]:{port}") } else { write!(to, "{host}:{port}") }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Logs,
    Metrics,
}

impl Signal {
    const fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
        }
    }

    pub(super) const fn content(self) -> Content {
        match self {
            Self::Logs => Content::Events,
            Self::Metrics => Content::Metrics,
        }
    }
}

/// A request that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Why, for people.
    pub(super) why: String,
    /// Whether it may be tried again.
    pub(super) retry: Retry,
}

/// Whether a request that was not taken may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// It would be refused again.
    Never,
    /// It may.
    Later,
    /// It may, and not before so much time.
    After(Duration),
}

/// What a refusal's body says: the first fields of google.rpc.Status.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// What became of a request: status, `Retry-After` and body of the answer, or why there is none.
type Exchanged = Result<(StatusCode, Option<String>, Bytes), Box<dyn Error + Send + Sync>>;

/// A connection to a collector, closed when dropped.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// What moves its bytes.
    _task: JoinSet<()>,
}

impl Collector {
    /// Hands over a request and returns the answer, both in Protocol Buffers. All of it may take `limit`. The connection
    /// that was `kept` is used while it holds.
    pub(super) async fn post<A: Message + Default>(
        &self,
        kept: &mut Option<Connection>,
        signal: Signal,
        body: Bytes,
        limit: Duration,
    ) -> Result<A, Refusal> {
        match timeout(limit, self.exchange(kept, signal, body)).await {
            Ok(Ok((status, retry_after, answer))) => judge(status, retry_after.as_deref(), &answer),
            Ok(Err(why)) => Err(Refusal { why: format!("{self}: {why}"), retry: Retry::Later }),
            Err(_) => {
                let why = format!("{self}: no answer within {} s", limit.as_secs_f32());
                Err(Refusal { why, retry: Retry::Later })
            }
        }
        .map_err(|refusal| Refusal { why: format!("{} {}", signal.path(), refusal.why), ..refusal })
    }

    async fn exchange(
        &self,
        kept: &mut Option<Connection>,
        signal: Signal,
        body: Bytes,
    ) -> Exchanged {
        // Whatever breaks this off, the connection is in an unknown state then and goes with it.
        if let Some(mut connection) = kept.take()
            && connection.sender.ready().await.is_ok()
            && let Ok(answer) = connection.exchange(self.request(signal, body.clone())?).await
        {
            *kept = Some(connection);
            return Ok(answer);
        }
        // The collector may have closed it in this moment, which says nothing about another.
        let mut connection = self.connect().await?;
        let answer = connection.exchange(self.request(signal, body)?).await?;
        *kept = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection, Box<dyn Error + Send + Sync>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut task = JoinSet::new();
        // How it ends shows in the next request.
        task.spawn(async { drop(connection.await) });
        Ok(Connection { sender, _task: task })
    }

    fn request(
        &self,
        signal: Signal,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        Request::post(format!("{}{}", self.path, signal.path()))
            .header(HOST, self.to_string())
            .header(USER_AGENT, concat!("fwx/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, PROTOBUF)
            .body(Full::new(body))
    }
}

impl Connection {
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Exchanged {
        let response = self.sender.send_request(request).await?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await?;
        Ok((status, retry_after, body.to_bytes()))
    }
}

fn retry_after(response: &Response<Incoming>) -> Option<String> {
    Some(response.headers().get(RETRY_AFTER)?.to_str().ok()?.to_owned())
}

/// What an answer means: its status first, then its body.
fn judge<A: Message + Default>(
    status: StatusCode,
    retry_after: Option<&str>,
    body: &[u8],
) -> Result<A, Refusal> {
    if status == StatusCode::OK {
        return A::decode(body).map_err(|_| Refusal {
            why: "the answer is none of OTLP: is a collector there?".to_owned(),
            retry: Retry::Never,
        });
    }
    let said = Status::decode(body).map(|status| shown(&status.message)).unwrap_or_default();
    let why = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    let retry = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => retry_after
            .and_then(|text| wait(text, OffsetDateTime::now_utc()))
            .map_or(Retry::Later, Retry::After),
        _ => Retry::Never,
    };
    Err(Refusal { why, retry })
}

/// How long `Retry-After` asks to wait (RFC 9110, section 10.2.3): seconds, or a date.
fn wait(text: &str, now: OffsetDateTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    // A date that is past: at once.
    Some(Duration::try_from(date - now).unwrap_or_default())
}

/// Text of the collector's as it may be repeated: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    let start: String = text.chars().take(REASON_MAX).collect();
    printable(start.trim()).into_owned()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse as Answer;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_address_names_host_port_and_path() {
        let collector: Collector = "http://[2001:db8::7]:4318/otlp/".parse().unwrap();
        assert_eq!((collector.host.as_str(), collector.port), ("2001:db8::7", 4318));
        assert_eq!(collector.path, "/otlp");
        assert_eq!(collector.to_string(), "[2001:db8::7]:4318");
        let short: Collector = "http://otel".parse().unwrap();
        assert_eq!((short.to_string().as_str(), short.path.as_str()), ("otel:4318", ""));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "/",
            "otel:4318",
            "http://otel:0",
            "http://otel:65536",
            "http://otel:",
            "http://[2001:db8::7]x:1",
            "http://:4318",
            "https://otel:4318",
            "http://user@otel:4318",
            "http://otel:4318/?key=1",
            "http://otel:4318/ x",
        ] {
            assert_eq!(text.parse::<Collector>(), Err(NoCollector), "{text}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = datetime!(2026-11-23 12:00:00 UTC);
        assert_eq!(wait(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(wait("Mon, 23 Nov 2026 12:00:09 GMT", now), Some(Duration::from_secs(9)));
        assert_eq!(wait("Mon, 23 Nov 2026 11:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(wait("soon", now), None);
        assert_eq!(wait("-1", now), None);
    }

    #[test]
    fn what_may_be_tried_again_is_what_the_protocol_says() {
        let retry = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            judge::<Answer>(status, None, b"").map_err(|refusal| refusal.retry)
        };
        for status in [429, 502, 503, 504] {
            assert_eq!(retry(status), Err(Retry::Later), "{status}");
        }
        for status in [204, 302, 400, 401, 404, 413, 500, 501] {
            assert_eq!(retry(status), Err(Retry::Never), "{status}");
        }
        assert_eq!(retry(200), Ok(Answer::default()));
    }

    #[test]
    fn a_refusal_repeats_what_the_collector_says_without_its_control_characters() {
        let message = format!("bad\x1b[2J\n{}", "x".repeat(1_000));
        let body = Status { code: 3, message }.encode_to_vec();
        let why = judge::<Answer>(StatusCode::BAD_REQUEST, None, &body).unwrap_err().why;
        assert!(why.starts_with("400 Bad Request: bad\\u{1b}[2J\\nx"), "{why}");
        assert!(why.len() < 300 && !why.chars().any(char::is_control), "{why}");
        let garbage = judge::<Answer>(StatusCode::BAD_REQUEST, None, b"<html>").unwrap_err();
        assert_eq!(garbage.why, "400 Bad Request");
    }
}
