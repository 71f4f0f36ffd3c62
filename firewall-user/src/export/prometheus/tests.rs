//! The server, by raw bytes from a client.

use std::io::ErrorKind;

use anyhow::bail;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{seats::SEATS, *};
use crate::metrics::definitions::POLICY_RULES;

/// Serves one metric, or none, at a port of the loopback address, and gives its address.
async fn server(is_well: bool, health: &Arc<Health>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let read = move || async move {
        if is_well { Ok(vec![POLICY_RULES.is(7.0)]) } else { bail!("no table") }
    };
    tokio::spawn(serve(listener, read, Arc::clone(health)));
    address
}

/// What comes back for `request`, to the end.
async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have refused before it read all.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn metrics_come_in_the_form_that_is_asked_for() {
    let health = Arc::default();
    let address = server(true, &health).await;
    let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(answer.ends_with("\nfwx_policy_rules 7\n"), "{answer}");
    let request =
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n";
    let answer = ask(address, request).await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0;"));
    assert!(answer.ends_with("\nfwx_policy_rules 7\n# EOF\n"), "{answer}");
    assert_eq!(health.condition().sent, 2);
}

#[tokio::test]
async fn a_head_has_no_body() {
    let address = server(true, &Arc::default()).await;
    let answer = ask(address, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn there_is_nothing_else() {
    let address = server(true, &Arc::default()).await;
    for (request, begins) in [
        ("GET / HTTP/1.1", "HTTP/1.1 200"),
        ("GET /metrics/ HTTP/1.1", "HTTP/1.1 404"),
        ("GET /../etc/passwd HTTP/1.1", "HTTP/1.1 404"),
        ("POST /metrics HTTP/1.1", "HTTP/1.1 405"),
        ("DELETE / HTTP/1.1", "HTTP/1.1 405"),
    ] {
        let answer = ask(address, format!("{request}\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with(begins), "{request}: {answer}");
    }
}

#[tokio::test]
async fn garbage_is_refused_and_the_next_is_served() {
    let address = server(true, &Arc::default()).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(4 * HEAD_MAX));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(4 * HEAD_MAX));
    for garbage in
        [b"\x16\x03\x01\x02\x00".as_slice(), b"\r\n\0\0\0", long.as_bytes(), many.as_bytes()]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    let answer = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Connects as many as there are seats, each of which sends `start` and no more.
async fn silent(address: SocketAddr, start: &[u8]) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for _ in 0..SEATS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start).await.unwrap();
        silent.push(stream);
    }
    silent
}

/// Whether `stream` is still open after the server had every occasion to close it.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test]
async fn those_who_say_nothing_hold_nobody_up() {
    let address = server(true, &Arc::default()).await;
    for start in [b"".as_slice(), b"GET /metrics HTTP/1.1\r\nX-"] {
        let silent = silent(address, start).await;
        let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.ends_with("\nfwx_policy_rules 7\n"), "{answer}");
        // None had to have its time first: only so many went as others came.
        assert!(is_open(&silent[SEATS - 1]));
        assert!(!is_open(&silent[0]));
    }
}

#[tokio::test]
async fn who_says_nothing_is_hung_up_on() {
    let address = server(true, &Arc::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nX-").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn metrics_that_cannot_be_read_are_an_error_that_says_nothing_to_strangers() {
    let health = Arc::default();
    let address = server(false, &health).await;
    let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500") && !answer.contains("no table"), "{answer}");
    let condition = health.condition();
    assert_eq!(condition.failed, 1);
    assert_eq!(condition.failure.as_deref(), Some("cannot read the metrics: no table"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let health: Arc<Health> = Arc::default();
    let read = || async { Ok(vec![POLICY_RULES.is(7.0)]) };
    let told = Arc::clone(&health);
    tokio::spawn(async move { serve(bind(address, &told).await, read, told).await });
    while health.condition().failure.is_none() {
        tokio::task::yield_now().await;
    }
    let failure = health.condition().failure.unwrap();
    assert!(failure.contains(&format!("cannot listen at {address}")), "{failure}");
    drop(taken);
    let answer = loop {
        match TcpStream::connect(address).await {
            Ok(_) => break ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(health.condition().failure, None);
}
