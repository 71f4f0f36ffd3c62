//! An event in one line of words, for logs that have a time of their own.

use super::{
    printable,
    words::{endpoint, finding, segment},
};
use crate::event::Event;

/// All that `event` says but when. Every character of it can be printed.
pub fn sentence(event: &Event) -> String {
    let mut words = vec![event.event.clone()];
    words.extend([&event.code, &event.reason].into_iter().flatten().cloned());
    if let Some(transport) = &event.transport {
        let source = endpoint(event.src_ip, event.src_port);
        let destination = endpoint(event.dst_ip, event.dst_port);
        words.push(format!("{transport} {source} -> {destination}"));
    }
    words.extend(event.tcp.as_ref().map(segment));
    words.extend(event.interface.as_ref().map(|name| format!("on {name}")));
    words.extend(finding(event));
    words.extend(event.parent.map(|flow| format!("announced by flow {flow}")));
    words.extend(event.rule.as_ref().map(|rule| format!("rule {rule:?}")));
    words.extend(event.caused_by.map(|kill| format!("because of event {kill}")));
    let suppressed = event.suppressed.filter(|count| *count > 0);
    words.extend(suppressed.map(|count| format!("({count} more before it)")));
    words.extend(event.message.clone());
    printable(&words.join(" ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_words() {
        let json = r#"{"timestamp":"2026-01-02T03:04:05.000000000Z","event":"packet_dropped","event_id":6144,
            "reason":"FWX_E_TCP_NOT_SYN_PACKET_DROPPED","code":"0xc0040017","flow_id":2049,"interface":"wan0",
            "transport":"tcp","src_ip":"10.2.0.2","src_port":554,"dst_ip":"fd00:1::2","dst_port":52274,
            "tcp":{"flags":"PA","seq":1,"ack":2,"window":64},"rule":"cam\neras","caused_by":5120,"suppressed":7}"#;
        let event: Event = serde_json::from_str(json).unwrap();
        assert_eq!(
            sentence(&event),
            "packet_dropped 0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED tcp 10.2.0.2:554 -> [fd00:1::2]:52274 [PA] \
             on wan0 rule \"cam\\neras\" because of event 5120 (7 more before it)"
        );
    }
}
