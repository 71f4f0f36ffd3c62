//! A collector that answers as it is told to.

use std::{collections::VecDeque, sync::Arc, sync::Mutex};

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

/// What a collector does with a request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// It writes these bytes and waits for the next request.
    Bytes(Vec<u8>),
    /// It writes these bytes and closes the connection.
    Last(Vec<u8>),
    /// It reads, and says nothing for ever.
    Silence,
}

impl Answer {
    /// An answer of HTTP; `headers` end in CR and LF each.
    pub(super) fn http(status: &str, headers: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
        Self::Bytes([head.as_bytes(), body].concat())
    }

    /// All was taken.
    pub(super) fn taken() -> Self {
        Self::http("200 OK", "", b"")
    }
}

/// A request as it came.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its first line and its headers.
    pub(super) head: String,
    /// By which connection it came, counted from 0.
    pub(super) connection: usize,
    body: Vec<u8>,
}

impl Asked {
    /// Numbers of the events that it hands over.
    pub(super) fn event_ids(&self) -> Vec<i64> {
        let key = "fwx.event_id";
        let records = self.logs().resource_logs.remove(0).scope_logs.remove(0).log_records;
        let ids = records.into_iter().map(|record| {
            let found = record.attributes.into_iter().find(|attribute| attribute.key == key);
            match found.and_then(|it| it.value).and_then(|value| value.value) {
                Some(opentelemetry_proto::tonic::common::v1::any_value::Value::IntValue(id)) => id,
                other => panic!("{other:?} is no number of an event"),
            }
        });
        ids.collect()
    }

    pub(super) fn logs(&self) -> ExportLogsServiceRequest {
        assert!(self.head.starts_with("POST /v1/logs HTTP/1.1\r\n"), "{}", self.head);
        ExportLogsServiceRequest::decode(&*self.body).unwrap()
    }

    pub(super) fn metrics(&self) -> ExportMetricsServiceRequest {
        assert!(self.head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{}", self.head);
        ExportMetricsServiceRequest::decode(&*self.body).unwrap()
    }

    fn is_metrics(&self) -> bool {
        self.head.starts_with("POST /v1/metrics ")
    }
}

/// A collector on this host. It ends when it is dropped.
pub(super) struct Receiver {
    pub(super) address: String,
    pub(super) logs: mpsc::UnboundedReceiver<Asked>,
    pub(super) metrics: mpsc::UnboundedReceiver<Asked>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// One that answers the first requests with logs by `answers`, and takes all others.
    pub(super) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (to_logs, logs) = mpsc::unbounded_channel();
        let (to_metrics, metrics) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let answers = Arc::clone(&answers);
                let channels = (to_logs.clone(), to_metrics.clone());
                tokio::spawn(converse(stream, connection, answers, channels));
            }
        });
        Self { address, logs, metrics, task }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Channels = (mpsc::UnboundedSender<Asked>, mpsc::UnboundedSender<Asked>);

/// Answers what comes by one connection.
async fn converse(
    mut stream: TcpStream,
    connection: usize,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    (to_logs, to_metrics): Channels,
) {
    while let Some(asked) = read(&mut stream, connection).await {
        let answer = if asked.is_metrics() {
            let _ = to_metrics.send(asked);
            Answer::taken()
        } else {
            let _ = to_logs.send(asked);
            answers.lock().unwrap().pop_front().unwrap_or_else(Answer::taken)
        };
        match answer {
            Answer::Bytes(bytes) => drop(stream.write_all(&bytes).await),
            Answer::Last(bytes) => return drop(stream.write_all(&bytes).await),
            Answer::Silence => std::future::pending().await,
        }
    }
}

/// Reads one request to its end.
async fn read(stream: &mut TcpStream, connection: usize) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ")?;
    let length: usize = length.lines().next()?.parse().ok()?;
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Some(Asked { head, connection, body: bytes[end..].to_vec() })
}
