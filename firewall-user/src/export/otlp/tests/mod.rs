//! The export against collectors good and bad.

mod receiver;

use std::{
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

use firewall_common::reason::Reason;
use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinHandle};

use self::receiver::{Answer, Receiver};
use super::*;
use crate::{
    event::{Event, Filter, Totals},
    events::Criteria,
    export::Condition,
    hub::Hub,
    metrics::{Kind, Metric, Sample},
};

/// As the usual one, but for those who wait.
const QUICK: Pace = Pace {
    linger: Duration::from_millis(20),
    limit: Duration::from_millis(200),
    first_wait: Duration::from_millis(10),
    longest_wait: Duration::from_millis(40),
    patience: Duration::from_secs(60),
};

/// An export that runs.
struct Exporting {
    hub: Arc<Mutex<Hub>>,
    health: Arc<Health>,
    lost: Arc<std::sync::atomic::AtomicU64>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// One that sends metrics once, at its beginning, and counts that one reading.
    fn start(address: &str, pace: Pace) -> Self {
        Self::start_with(address, pace, Duration::from_secs(3600))
    }

    fn start_with(address: &str, pace: Pace, period: Duration) -> Self {
        let hub = Hub::default();
        let mut feed = hub.feed(Criteria::default().selection(0).unwrap());
        let lost = feed.lost();
        let health = Arc::<Health>::default();
        let sender = Sender {
            resource: value::resource("gate"),
            collector: address.parse().unwrap(),
            pace,
            health: Arc::clone(&health),
        };
        let read = async || Ok(vec![drops(7.0)]);
        let task = tokio::spawn(async move {
            sender.run(&mut feed, period, read).await;
        });
        Self { hub: Arc::new(Mutex::new(hub)), health, lost, task }
    }

    fn publish(&self, event: Event) {
        self.hub.lock().unwrap().publish(event).unwrap();
    }

    /// Waits until this is how it is doing.
    async fn wait_until(&self, what: &str, holds: impl Fn(&Condition) -> bool) -> Condition {
        for _ in 0..2_000 {
            let condition = self.health.condition();
            if holds(&condition) {
                return condition;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what} does not come: {:?}", self.health.condition());
    }

    /// Ends the feed and waits for the export to end.
    async fn end(self) {
        drop(self.hub);
        self.task.await.unwrap();
    }
}

fn drops(value: f64) -> Metric {
    Metric {
        name: "fwx_dropped_packets_total",
        help: "Packets that were refused.",
        kind: Kind::Counter,
        samples: vec![Sample { labels: vec![("reason", "FWX_E_INTERNAL".to_owned())], value }],
    }
}

fn event(number: u64) -> Event {
    let time = 1_795_435_567_036_023_777;
    Event::control(number, Some("gate".to_owned()), time, Reason::None, "a message".to_owned())
}

/// A kill with all that an event can have.
fn kill() -> Event {
    Event {
        event: "connection_killed".to_owned(),
        reason: Some("FWX_E_CONNECTION_KILLED".to_owned()),
        code: Some("0x80074e24".to_owned()),
        flow_id: Some(2049),
        interface: Some("wan0".to_owned()),
        direction: Some("reply".to_owned()),
        protocol: Some("rtsp".to_owned()),
        transport: Some("tcp".to_owned()),
        src_ip: Some([10, 2, 0, 2].into()),
        src_port: Some(554),
        dst_ip: Some([10, 1, 0, 2].into()),
        dst_port: Some(52_274),
        rule: Some("cameras".to_owned()),
        suppressed: Some(3),
        filter: Some(Filter {
            name: "rtsp".to_owned(),
            mode: "enforce".to_owned(),
            profile: "strict".to_owned(),
            finding: "missing-cseq".to_owned(),
            offset: 123,
            excerpt: "A\\x1b[2".to_owned(),
        }),
        totals: Some(Totals {
            started: "2026-11-23T12:00:00.000000000Z".to_owned(),
            packets: [5, 4],
            bytes: [u64::MAX, 400],
        }),
        message: None,
        ..event(5120)
    }
}

fn value_of(attributes: &[KeyValue], key: &str) -> Value {
    let mut found = attributes.iter().filter(|attribute| attribute.key == key);
    let value = found.next().unwrap_or_else(|| panic!("no {key} in {attributes:?}")).value.clone();
    assert!(found.next().is_none(), "{key} is there twice");
    value.unwrap().value.unwrap()
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

async fn only_record(receiver: &mut Receiver) -> LogRecord {
    let asked = receiver.logs.recv().await.unwrap();
    assert!(asked.head.contains("content-type: application/x-protobuf\r\n"), "{}", asked.head);
    let mut records = asked.logs().resource_logs.remove(0).scope_logs.remove(0).log_records;
    assert_eq!(records.len(), 1);
    records.remove(0)
}

#[tokio::test]
async fn an_event_arrives_as_a_log_record() {
    let mut receiver = Receiver::start([]).await;
    let exporting = Exporting::start(&receiver.address, QUICK);
    exporting.publish(kill());
    let record = only_record(&mut receiver).await;
    assert_eq!(record.time_unix_nano, 1_795_435_567_036_023_777);
    assert!(record.observed_time_unix_nano > 0);
    assert_eq!((record.severity_number, record.severity_text.as_str()), (13, "warning"));
    assert_eq!(record.event_name, "fwx.connection_killed");
    let Some(Value::StringValue(body)) = record.body.and_then(|body| body.value) else {
        panic!("no text")
    };
    assert!(body.starts_with("connection_killed 0x80074e24 FWX_E_CONNECTION_KILLED tcp"), "{body}");
    for (key, expected) in [
        ("source.address", text("10.2.0.2")),
        ("source.port", Value::IntValue(554)),
        ("destination.address", text("10.1.0.2")),
        ("destination.port", Value::IntValue(52_274)),
        ("network.transport", text("tcp")),
        ("network.type", text("ipv4")),
        ("network.interface.name", text("wan0")),
        ("security_rule.name", text("cameras")),
        ("fwx.event_id", Value::IntValue(5120)),
        ("fwx.flow_id", Value::IntValue(2049)),
        ("fwx.suppressed", Value::IntValue(3)),
        ("fwx.filter.finding", text("missing-cseq")),
        ("fwx.filter.offset", Value::IntValue(123)),
        ("fwx.filter.excerpt", text("A\\x1b[2")),
    ] {
        assert_eq!(value_of(&record.attributes, key), expected, "{key}");
    }
    let Value::ArrayValue(bytes) = value_of(&record.attributes, "fwx.totals.bytes") else {
        panic!("no two numbers")
    };
    let bytes: Vec<_> = bytes.values.into_iter().map(|value| value.value.unwrap()).collect();
    assert_eq!(bytes, [Value::IntValue(i64::MAX), Value::IntValue(400)]);
    exporting.end().await;
}

#[tokio::test]
async fn the_sender_says_who_it_is() {
    let mut receiver = Receiver::start([]).await;
    let exporting = Exporting::start(&format!("{}/", receiver.address), QUICK);
    exporting.publish(event(1));
    let logs = receiver.logs.recv().await.unwrap().logs();
    let resource = logs.resource_logs[0].resource.clone().unwrap();
    assert_eq!(value_of(&resource.attributes, "service.name"), text("fwx"));
    assert_eq!(value_of(&resource.attributes, "fwx.instance"), text("gate"));
    let Value::StringValue(host) = value_of(&resource.attributes, "host.name") else { panic!() };
    let id = value_of(&resource.attributes, "service.instance.id");
    assert_eq!(id, text(&format!("{host}/gate")));
    let scope = logs.resource_logs[0].scope_logs[0].scope.clone().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("fwx", env!("CARGO_PKG_VERSION")));
    exporting.end().await;
}

#[tokio::test]
async fn metrics_arrive_every_period() {
    let mut receiver = Receiver::start([]).await;
    let period = Duration::from_millis(50);
    let exporting = Exporting::start_with(&receiver.address, QUICK, period);
    for _ in 0..2 {
        let mut request = receiver.metrics.recv().await.unwrap().metrics();
        let metric = request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0);
        assert_eq!(metric.name, "fwx.dropped_packets");
        assert_eq!(metric.description, "Packets that were refused.");
    }
    exporting.end().await;
}

#[tokio::test]
async fn events_that_come_together_go_together() {
    let mut receiver = Receiver::start([]).await;
    let long = Pace { linger: Duration::from_secs(60), ..QUICK };
    let exporting = Exporting::start(&receiver.address, long);
    for number in 0..batch::MOST_EVENTS as u64 + 2 {
        exporting.publish(event(number));
    }
    let first = receiver.logs.recv().await.unwrap().event_ids();
    assert_eq!(first, (0..batch::MOST_EVENTS as i64).collect::<Vec<_>>());
    // The rest goes when the feed ends, and does not wait for its time.
    exporting.end().await;
    let last = receiver.logs.recv().await.unwrap().event_ids();
    assert_eq!(last, [batch::MOST_EVENTS as i64, batch::MOST_EVENTS as i64 + 1]);
}

#[tokio::test]
async fn a_connection_is_kept_until_the_collector_closes_it() {
    let body = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let mut receiver = Receiver::start([Answer::taken(), Answer::Last(body)]).await;
    let exporting = Exporting::start(&receiver.address, QUICK);
    receiver.metrics.recv().await.unwrap();
    let mut connections = Vec::new();
    for number in 1..=4 {
        exporting.publish(event(number));
        let asked = receiver.logs.recv().await.unwrap();
        assert_eq!(asked.event_ids(), [number as i64]);
        connections.push(asked.connection);
        exporting.wait_until("the count", |condition| condition.sent == number + 1).await;
    }
    assert!(connections[0] == connections[1] && connections[2] == connections[3]);
    assert_ne!(connections[1], connections[2]);
    assert_eq!(exporting.health.condition().failure, None);
    exporting.end().await;
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again() {
    let busy = Answer::http("503 Service Unavailable", "Retry-After: 0\r\n", b"");
    let mut receiver = Receiver::start([busy.clone(), busy]).await;
    let exporting = Exporting::start(&receiver.address, QUICK);
    exporting.publish(event(1));
    for _ in 0..3 {
        assert_eq!(receiver.logs.recv().await.unwrap().event_ids(), [1]);
    }
    exporting.publish(event(2));
    assert_eq!(receiver.logs.recv().await.unwrap().event_ids(), [2], "once");
    exporting.wait_until("that both are sent", |condition| condition.sent == 3).await;
    assert_eq!(exporting.health.condition().failed, 0);
    exporting.end().await;
}

#[tokio::test]
async fn a_batch_that_is_refused_is_counted_and_the_next_one_goes() {
    let bad = Answer::http("400 Bad Request", "", b"");
    // Not Protocol Buffers, and so of no collector.
    let page = Answer::http("200 OK", "", b"<html>");
    let mut receiver = Receiver::start([bad, page]).await;
    let exporting = Exporting::start(&receiver.address, QUICK);
    for number in 1..=3 {
        exporting.publish(event(number));
        assert_eq!(receiver.logs.recv().await.unwrap().event_ids(), [number as i64]);
        let failed = number.min(2);
        exporting.wait_until("the count", |condition| condition.failed == failed).await;
    }
    exporting.end().await;
}

#[tokio::test]
async fn a_collector_of_metrics_alone_goes_on_failing_for_events() {
    let missing = Answer::http("404 Not Found", "", b"");
    let mut receiver = Receiver::start([missing]).await;
    let period = Duration::from_millis(50);
    let exporting = Exporting::start_with(&receiver.address, QUICK, period);
    exporting.publish(event(1));
    let refused = exporting.wait_until("the refusal", |condition| condition.failed == 1).await;
    // Two of its answers to metrics, of which the first is counted when the second request is there.
    while receiver.metrics.try_recv().is_ok() {}
    for _ in 0..2 {
        receiver.metrics.recv().await.unwrap();
    }
    let condition = exporting.health.condition();
    assert!(condition.sent > refused.sent, "metrics go on");
    assert_eq!(condition.failure.as_deref(), Some("/v1/logs 404 Not Found"));
    exporting.publish(event(2));
    exporting.wait_until("that events go", |condition| condition.failure.is_none()).await;
    exporting.end().await;
}

#[tokio::test]
async fn a_collector_that_rejects_some_is_not_asked_again() {
    let part = ExportLogsPartialSuccess {
        rejected_log_records: 2,
        error_message: "too old\x1b[2J".to_owned(),
    };
    let answer = ExportLogsServiceResponse { partial_success: Some(part) }.encode_to_vec();
    let mut receiver = Receiver::start([Answer::http("200 OK", "", &answer)]).await;
    let exporting = Exporting::start(&receiver.address, QUICK);
    (1..=3).for_each(|number| exporting.publish(event(number)));
    assert_eq!(receiver.logs.recv().await.unwrap().event_ids(), [1, 2, 3]);
    exporting.wait_until("the count", |condition| condition.failed == 2).await;
    exporting.publish(event(4));
    assert_eq!(receiver.logs.recv().await.unwrap().event_ids(), [4]);
    exporting.end().await;
}

#[tokio::test]
async fn a_collector_that_never_answers_or_answers_nonsense_is_asked_again() {
    let nonsense = Answer::Last(b"\0\x01SSH-2.0-OpenSSH_9.2p1\r\n\r\n".to_vec());
    let endless = Answer::http("200 OK", "", &vec![b'x'; 1 << 20]);
    let cut = Answer::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec());
    let mut receiver = Receiver::start([Answer::Silence, nonsense, endless, cut]).await;
    let exporting = Exporting::start(&receiver.address, QUICK);
    exporting.publish(event(1));
    for _ in 0..5 {
        assert_eq!(receiver.logs.recv().await.unwrap().event_ids(), [1]);
    }
    exporting.wait_until("that it is sent", |condition| condition.sent == 2).await;
    assert_eq!(exporting.health.condition().failed, 0);
    exporting.end().await;
}

#[tokio::test]
async fn a_dead_collector_costs_its_own_events_and_no_memory() {
    // Nobody listens there any more.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let hasty = Pace { patience: Duration::from_millis(50), ..QUICK };
    let exporting = Exporting::start(&address, hasty);
    exporting.publish(event(0));
    let given_up = |condition: &Condition| condition.failed == 2;
    let condition = exporting.wait_until("that event and metrics are given up", given_up).await;
    assert!(condition.failure.unwrap().contains("Connection refused"));
    assert_eq!(condition.sent, 0);

    // One batch is in hand at most, and what the feed cannot hold is counted there.
    const MANY: u64 = 20_000;
    (0..MANY).for_each(|number| exporting.publish(event(number)));
    exporting.wait_until("the loss", |_| exporting.lost.load(Relaxed) > 0).await;
    let (lost, health) = (Arc::clone(&exporting.lost), Arc::clone(&exporting.health));
    exporting.end().await;
    let (lost, failed) = (lost.load(Relaxed), health.condition().failed);
    assert!(lost >= MANY / 2, "the feed held more than it may: {lost} lost");
    assert_eq!(lost + failed, MANY + 2, "all are counted");
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error() {
    let mut feed = Hub::default().feed(Criteria::default().selection(0).unwrap());
    let period = Duration::from_secs(1);
    let to = "https://otel:4318".to_owned();
    let ended =
        run("gate".to_owned(), to, period, &mut feed, || async { Ok(vec![]) }, Arc::default())
            .await;
    let said = format!("{:#}", ended.unwrap_err());
    assert!(said.contains("https://otel:4318") && said.contains("http://HOST:PORT"), "{said}");
}
