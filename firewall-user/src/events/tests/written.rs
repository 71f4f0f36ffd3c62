//! Captures of events, read back by the reader that `fwx replay` has, and by a parser that is none of ours.

use pcap_parser::{
    Block, PcapBlockOwned, PcapNGReader,
    traits::{PcapNGPacketBlock as _, PcapReaderIterator as _},
};
use proptest::prelude::*;

use super::{event, hostile, kill, others, story, text};
use crate::{
    capture::{Capture, LinkType},
    event::Event,
    events::PacketFile,
};

fn written(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = PacketFile::new(&mut bytes).unwrap();
    for event in events {
        assert_eq!(file.add(event).unwrap(), event.packet.is_some());
    }
    assert_eq!(file.packets(), events.iter().filter(|event| event.packet.is_some()).count() as u64);
    let len = file.bytes();
    drop(file);
    assert_eq!(len, bytes.len() as u64);
    bytes
}

/// What another parser finds in it: one line for each block, as it is understood.
fn blocks(bytes: &[u8]) -> Vec<String> {
    let mut reader = PcapNGReader::new(1 << 20, bytes).unwrap();
    let mut lines = Vec::new();
    while let Ok((len, block)) = reader.next() {
        let PcapBlockOwned::NG(block) = block else { panic!("a block of pcap") };
        lines.push(match &block {
            Block::SectionHeader(block) => format!("section {:?}", options(&block.options)),
            Block::InterfaceDescription(block) => {
                format!("interface of {} {:?}", block.linktype, options(&block.options))
            }
            Block::EnhancedPacket(block) => format!(
                "packet of {}, {} of {} bytes, {:?}",
                block.if_id,
                block.packet_data().len(),
                block.origlen,
                options(&block.options)
            ),
            other => panic!("{other:?}"),
        });
        reader.consume(len);
    }
    lines
}

fn options(options: &[pcap_parser::PcapNGOption<'_>]) -> Vec<String> {
    let with_value = options.iter().filter(|option| option.code.0 != 0);
    with_value
        .map(|option| {
            let value = option.as_bytes().unwrap();
            format!("{}={}", option.code.0, String::from_utf8_lossy(value))
        })
        .collect()
}

#[test]
fn packets_say_what_became_of_them() {
    let events: Vec<_> = story().into_iter().chain(others()).chain([kill()]).collect();
    let bytes = written(&events);
    expect_test::expect![[r#"
        section ["4=fwx 0.1.0"]
        interface of ETHERNET ["2=wan0", "9=\t"]
        packet of 0, 17 of 1514 bytes, ["1=0x80074e24 FWX_E_CONNECTION_KILLED, connection_killed 5120, flow 2049 reply, protocol rtsp, rule cameras, rtsp/missing-cseq at byte 123 (enforce, strict): \"RTSP/1.0 200 OK\""]
        packet of 0, 15 of 70 bytes, ["1=0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED, packet_dropped 6144, because of kill 5120, flow 2049 reply, protocol rtsp, rule cameras"]
        interface of RAW ["2=wg0", "9=\t"]
        packet of 1, 4 of 60 bytes, ["1=0xc0040034 FWX_E_SEQ_ACK_MISMATCH, packet_dropped 7169, flow 4096 original"]
        packet of 0, 17 of 1514 bytes, ["1=0x80074e24 FWX_E_CONNECTION_KILLED, connection_killed 5120, flow 2049 reply, protocol rtsp, rule cameras, rtsp/missing-cseq at byte 123 (enforce, strict): \"RTSP/1.0 200 OK\""]
    "#]].assert_eq(&(blocks(&bytes).join("\n") + "\n"));
}

#[test]
fn our_own_reader_takes_it() {
    let bytes = written(&story());
    let packets: Vec<_> = Capture::new(&bytes[..]).unwrap().map(Result::unwrap).collect();
    assert_eq!(packets.len(), 2);
    assert_eq!(packets[0].timestamp_ns, 1_767_323_047_160_324_862);
    assert_eq!(packets[0].link_type, LinkType::ETHERNET);
    assert_eq!((packets[0].data.len(), packets[0].original_len), (17, 1514));
    assert_eq!(packets[0].data, kill().packet.unwrap().bytes);
}

#[test]
fn a_time_that_is_none_is_1970() {
    for timestamp in ["@-1", "@99999999999999999999999", "yesterday", "1960-01-01T00:00:00Z"] {
        let bytes = written(&[Event { timestamp: timestamp.to_owned(), ..kill() }]);
        let packet = Capture::new(&bytes[..]).unwrap().next().unwrap().unwrap();
        assert_eq!(packet.timestamp_ns, 0, "{timestamp}");
    }
}

proptest! {
    #[test]
    fn whatever_an_event_holds_is_one_comment(text in text(), times in 1..100_usize) {
        let bytes = written(&[hostile(&text.repeat(times)), kill()]);
        let blocks = blocks(&bytes);
        prop_assert_eq!(blocks.len(), 5);
        // Section, two interfaces, two packets; 8 KiB are more than names and comments may take.
        prop_assert!(bytes.len() < 8 << 10, "{} bytes", bytes.len());
        let packets: Vec<_> = Capture::new(&bytes[..]).unwrap().collect();
        prop_assert!(packets.len() == 2 && packets.iter().all(Result::is_ok));
    }

    #[test]
    fn whatever_a_packet_holds_comes_back(data in prop::collection::vec(any::<u8>(), 0..300), length: u32) {
        let mut event = event(serde_json::to_value(kill()).unwrap());
        let packet = event.packet.as_mut().unwrap();
        (packet.bytes, packet.length) = (data.clone(), length);
        let bytes = written(&[event]);
        let packet = Capture::new(&bytes[..]).unwrap().next().unwrap().unwrap();
        prop_assert_eq!(packet.original_len, length.max(data.len() as u32));
        prop_assert_eq!(packet.data, data);
    }
}
