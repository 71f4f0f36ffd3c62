//! A collector of OpenTelemetry in the lab: what it is sent, by a server of HTTP that knows nothing of fwx.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use lab::Host;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::Metric,
    resource::v1::Resource,
};
use prost::Message;
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

/// A collector. It ends when it is dropped.
pub(crate) struct Collector {
    received: Arc<Mutex<Received>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// All that came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// Who sent it, said with each request.
    pub(crate) resources: Vec<Resource>,
    /// The events.
    pub(crate) logs: Vec<LogRecord>,
    /// The metrics of each moment.
    pub(crate) metrics: Vec<Vec<Metric>>,
    /// Requests that a collector refuses.
    pub(crate) refused: Vec<String>,
}

impl Collector {
    /// Starts one that listens at `address` of `host`.
    pub(crate) fn start(host: &Host, address: SocketAddr) -> Result<Self> {
        let listener = host
            .run(|| std::net::TcpListener::bind(address))?
            .with_context(|| format!("cannot listen at {address}"))?;
        listener.set_nonblocking(true)?;
        let received = Arc::<Mutex<Received>>::default();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn({
            let received = Arc::clone(&received);
            move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener).unwrap();
                    tokio::select! {
                        () = serve(listener, received) => {}
                        _ = ended => {}
                    }
                });
            }
        });
        Ok(Self { received, end: Some(end), thread: Some(thread) })
    }

    /// What came so far.
    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Received {
    /// The log record of an event.
    pub(crate) fn log(&self, event_id: u64) -> Option<&LogRecord> {
        let number = Value::IntValue(i64::try_from(event_id).unwrap());
        let is_it = |log: &&LogRecord| attribute(&log.attributes, "fwx.event_id") == Some(&number);
        self.logs.iter().find(is_it)
    }
}

/// The attribute `key`.
pub(crate) fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

async fn serve(listener: TcpListener, received: Arc<Mutex<Received>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let received = Arc::clone(&received);
        tokio::spawn(async move {
            let service = service_fn(|request| take(request, &received));
            // A sender that breaks off is its own loss.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    received: &Mutex<Received>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut received = received.lock().unwrap();
    let is_protobuf =
        head.headers.get(CONTENT_TYPE).is_some_and(|it| it == "application/x-protobuf");
    let answer = match (&head.method, head.uri.path()) {
        (&Method::POST, "/v1/logs") if is_protobuf => take_logs(&body, &mut received),
        (&Method::POST, "/v1/metrics") if is_protobuf => take_metrics(&body, &mut received),
        _ => None,
    };
    let mut response = Response::new(Full::new(Bytes::new()));
    match answer {
        Some(answer) => *response.body_mut() = Full::new(answer.into()),
        None => {
            received.refused.push(format!("{head:?}"));
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
    }
    Ok(response)
}

fn take_logs(body: &[u8], received: &mut Received) -> Option<Vec<u8>> {
    for logs in ExportLogsServiceRequest::decode(body).ok()?.resource_logs {
        received.resources.extend(logs.resource);
        received.logs.extend(logs.scope_logs.into_iter().flat_map(|scope| scope.log_records));
    }
    Some(ExportLogsServiceResponse::default().encode_to_vec())
}

fn take_metrics(body: &[u8], received: &mut Received) -> Option<Vec<u8>> {
    for metrics in ExportMetricsServiceRequest::decode(body).ok()?.resource_metrics {
        received.resources.extend(metrics.resource);
        received.metrics.extend(metrics.scope_metrics.into_iter().map(|scope| scope.metrics));
    }
    Some(ExportMetricsServiceResponse::default().encode_to_vec())
}
