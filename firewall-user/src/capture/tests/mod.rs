//! Captures are built in memory here, read back whole, then cut and damaged in every way.

mod damage;
mod pcap;
mod pcapng;
mod writer;

use super::*;

/// Everything that comes out of `bytes`: the packets, and the error that ended them, if one did.
fn read_all(bytes: &[u8]) -> (Vec<Packet>, Option<CaptureError>) {
    let capture = match Capture::new(bytes) {
        Ok(capture) => capture,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut packets = Vec::new();
    let mut error = None;
    for packet in capture {
        assert!(error.is_none(), "nothing comes after an error");
        match packet {
            Ok(packet) => packets.push(packet),
            Err(found) => error = Some(found),
        }
    }
    (packets, error)
}

/// The packets of a capture that is in order.
#[track_caller]
fn packets(bytes: &[u8]) -> Vec<Packet> {
    match read_all(bytes) {
        (packets, None) => packets,
        (_, Some(error)) => panic!("{error}"),
    }
}

/// The error that a capture ends with.
#[track_caller]
fn error(bytes: &[u8]) -> CaptureError {
    read_all(bytes).1.expect("the capture is bad")
}

fn packet(number: u64, timestamp_ns: u64, data: &[u8]) -> Packet {
    Packet {
        number,
        timestamp_ns,
        original_len: data.len() as u32,
        data: data.to_vec(),
        link_type: LinkType::ETHERNET,
    }
}

#[test]
fn a_file_is_read_by_its_path() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("a.pcap");
    let mut capture = writer::Pcap::new(writer::LITTLE);
    capture.packet(1, 2, b"frame");
    std::fs::write(&path, &capture.bytes).expect("a temporary file");
    let packets: Result<Vec<Packet>, CaptureError> =
        Capture::open(&path).expect("it is there").collect();
    assert_eq!(packets.expect("it is good"), [packet(1, 1_000_002_000, b"frame")]);

    let missing = directory.path().join("missing.pcap");
    let error = Capture::open(&missing).expect_err("it is not there").to_string();
    assert!(error.contains("missing.pcap") && error.contains("No such file"), "{error}");
}

#[test]
fn what_is_no_capture_is_refused() {
    assert!(matches!(error(b""), CaptureError::Empty));
    let told = error(b"GET / HTTP/1.1\r\n").to_string();
    assert!(told.contains("47 45 54 20"), "{told}");
    let told = error(b"\x1f\x8b\x08\x00").to_string();
    assert!(told.contains("gzip"), "{told}");
}

#[test]
fn a_failing_reader_is_told_apart_from_the_end_of_the_file() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let mut capture = writer::Pcap::new(writer::LITTLE);
    capture.packet(1, 2, b"frame");
    let reader = capture.bytes.as_slice().chain(Failing);
    let mut packets = Capture::new(reader).expect("the header is there");
    assert!(matches!(packets.next(), Some(Ok(_))));
    let offset = capture.bytes.len() as u64;
    assert!(
        matches!(packets.next(), Some(Err(CaptureError::Read { offset: at, .. })) if at == offset)
    );
    assert!(packets.next().is_none());
}

#[test]
fn a_reader_that_gives_single_bytes_is_enough() {
    struct Dripping<'a>(&'a [u8], bool);
    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }
    let bytes = writer::pcapng_of_all_kinds(writer::BIG);
    let dripped: Result<Vec<Packet>, CaptureError> =
        Capture::new(Dripping(&bytes, false)).expect("it is good").collect();
    assert_eq!(dripped.expect("it is good"), packets(&bytes));
}
