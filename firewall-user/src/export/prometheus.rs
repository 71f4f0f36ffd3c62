//! Metrics for Prometheus, which comes to fetch them: an HTTP server with one page.
//!
//! Whoever reaches the address may ask, so everything that a client can make it hold is bounded: connections, the size of
//! a request's head, and the time from the first byte to the last.

mod seats;

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use self::seats::{Seats, Turn};
use super::{Health, exposition::Form};
use crate::metrics::{Metric, Source};

/// Longest head of a request, in bytes, about: the smallest that hyper takes.
const HEAD_MAX: usize = 8_192;
/// How long a client may take for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all of it may take, the answer included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait before what failed is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// Serves metrics at `listen`, for as long as the controller runs. An address that cannot be listened at is tried again:
/// it may come with its interface.
pub async fn run(listen: SocketAddr, source: Source, health: Arc<Health>) {
    let read = move || {
        let source = source.clone();
        async move { source.read().await }
    };
    serve(bind(listen, &health).await, read, health).await;
}

async fn serve<R, F>(listener: TcpListener, read: R, health: Arc<Health>)
where
    R: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Vec<Metric>>> + Send + 'static,
{
    // With this task its connections end.
    let mut seats = Seats::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                seats.make_room().await;
                let (read, health) = (read.clone(), Arc::clone(&health));
                seats.seat(|turn| converse(stream, read, health, turn));
            }
            // Too many files are open, say.
            Err(error) => {
                health.failed(0, format!("cannot accept a connection: {error}"));
                sleep(RETRY_PERIOD).await;
            }
        }
    }
}

async fn bind(listen: SocketAddr, health: &Health) -> TcpListener {
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => {
                health.sent(0);
                return listener;
            }
            Err(error) => health.failed(0, format!("cannot listen at {listen}: {error}")),
        }
        sleep(RETRY_PERIOD).await;
    }
}

/// One request and its answer. What is no HTTP is hyper's to refuse, and nobody's to hear of.
async fn converse<R, F>(stream: TcpStream, read: R, health: Arc<Health>, turn: Turn)
where
    R: Fn() -> F,
    F: Future<Output = Result<Vec<Metric>>>,
{
    let service = service_fn(|request: Request<Incoming>| {
        turn.is_servers();
        let answered = answer(request, &read, &health);
        let turn = &turn;
        async move {
            let answer = answered.await;
            turn.is_clients();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

async fn answer<R, F>(request: Request<Incoming>, read: R, health: &Health) -> Response<Full<Bytes>>
where
    R: Fn() -> F,
    F: Future<Output = Result<Vec<Metric>>>,
{
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => metrics(request.headers(), read, health).await,
        "/" => plain(StatusCode::OK, "fwx: metrics are at /metrics\n"),
        _ => plain(StatusCode::NOT_FOUND, "There is nothing but /metrics.\n"),
    }
}

async fn metrics<R, F>(headers: &HeaderMap, read: R, health: &Health) -> Response<Full<Bytes>>
where
    R: Fn() -> F,
    F: Future<Output = Result<Vec<Metric>>>,
{
    match read().await {
        Ok(metrics) => {
            let accepted = headers.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok());
            let form = Form::accepted(&accepted.collect::<Vec<_>>().join(","));
            health.sent(1);
            response(StatusCode::OK, form.content_type(), form.text(&metrics))
        }
        Err(error) => {
            let failure = format!("cannot read the metrics: {error:#}");
            health.failed(1, failure);
            // Why is for the administrator to read, in `fwx status`.
            plain(StatusCode::INTERNAL_SERVER_ERROR, "The metrics cannot be read.\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text)
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
