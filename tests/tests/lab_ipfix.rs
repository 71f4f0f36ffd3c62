//! Flow records as tshark reads them, beside the events that they are made of.

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lab::{Fwx, Lab, Mac, Mode, Packet, pcap_bytes, peers::echo, policy, wait};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

const DOMAIN: &str = "77";
/// Messages within which the records of a few flows have to come.
const MESSAGES: usize = 10;

fn policy(to: &str) -> String {
    let export = format!("\n[export.flows]\nkind = \"ipfix\"\nto = \"{to}\"\ndomain = {DOMAIN}\n");
    let timeouts = "\n[timeouts]\nudp = 1\nudp_stream = 1\n";
    policy::cameras(&["lan0", "wan0"], "standard") + policy::THE_GATEWAY_ITSELF + &export + timeouts
}

/// What tshark makes of `messages`: each record's fields, by its flow's number.
fn read(lab: &Lab, messages: &[Vec<u8>]) -> Result<BTreeMap<u64, Value>> {
    let ends = [lab.gateway().interface("lan0").ipv4, lab.client.first_interface().ipv4];
    let [from, to] = ends.map(|address| SocketAddr::from((address, 4739)));
    let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
    // By which transport they came is all the same to the protocol, and a datagram needs no handshake.
    let frame = |message: &Vec<u8>| {
        (0, Packet::udp(from, to).payload(message).macs(macs[0], macs[1]).build())
    };
    let frames: Vec<_> = messages.iter().map(frame).collect();
    let file = lab.client.write_file("ipfix.pcap", pcap_bytes(&frames))?;
    let mut tshark = Command::new("tshark");
    tshark.env("TZ", "UTC").arg("-r").arg(file);
    tshark.args(["-d", "udp.port==4739,cflow", "-T", "json", "--no-duplicate-keys"]);
    let output = tshark.output().context("cannot run tshark: `cargo xtask setup` installs it")?;
    ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let packets: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    assert_eq!(packets.len(), messages.len());
    let mut records = BTreeMap::new();
    for packet in &packets {
        let message = &packet["_source"]["layers"]["cflow"];
        assert_eq!(message["cflow.od_id"], DOMAIN);
        assert_eq!(message["cflow.sequence"], records.len().to_string(), "records before it");
        let sets = message.as_object().context("no message")?;
        for (_, set) in sets.iter().filter(|(name, _)| name.starts_with("Set ")) {
            let members = set.as_object().context("no set")?;
            for (_, record) in members.iter().filter(|(name, _)| name.starts_with("Flow ")) {
                records.insert(text(&record["cflow.flow_id"]).parse()?, record.clone());
            }
        }
    }
    Ok(records)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Compares a record with the event of its flow's end, which a packet of the reply may have brought.
fn check(record: &Value, event: &Value, end_reason: &str) {
    let is_reply = event["direction"] == "reply";
    let [source, destination] = if is_reply { ["dst", "src"] } else { ["src", "dst"] };
    let family = if text(&event["src_ip"]).contains(':') { "v6" } else { "" };
    let number = |value: &Value| value.to_string();
    for (field, expected) in [
        (format!("cflow.srcaddr{family}"), event[format!("{source}_ip")].clone()),
        (format!("cflow.dstaddr{family}"), event[format!("{destination}_ip")].clone()),
        ("cflow.srcport".to_owned(), number(&event[format!("{source}_port")]).into()),
        ("cflow.dstport".to_owned(), number(&event[format!("{destination}_port")]).into()),
        ("cflow.flow_end_reason".to_owned(), end_reason.into()),
        ("cflow.biflow_direction".to_owned(), "1".into()),
        ("cflow.if_name".to_owned(), event["interface"].clone()),
        ("cflow.appl_name".to_owned(), event["protocol"].clone()),
    ] {
        assert_eq!(record[&field], expected, "{field} of {record:#} for {event}");
    }
    let totals = &event["totals"];
    for (field, member) in [("cflow.octets", "bytes"), ("cflow.packets", "packets")] {
        let expected = [0, 1].map(|direction| number(&totals[member][direction]));
        assert_eq!(record[field], serde_json::json!(expected), "{field} for {event}");
    }
    for (field, time) in
        [("cflow.abstimestart", &totals["started"]), ("cflow.abstimeend", &event["timestamp"])]
    {
        assert_eq!(text(&record["cflow.timedelta_tree"][field]), shown(text(time)), "{event}");
    }
}

/// A time as tshark shows it, with the milliseconds that a record has.
fn shown(timestamp: &str) -> String {
    let time = OffsetDateTime::parse(timestamp, &Rfc3339).unwrap();
    let milliseconds = format_description!(
        "[month repr:short] [day padding:space], [year] [hour]:[minute]:[second].[subsecond digits:3]000000 UTC"
    );
    time.format(milliseconds).unwrap()
}

/// Has flows end in three ways, takes messages by `next`, and compares their records with the events.
fn records_come(lab: &Lab, fwx: &Fwx, mut next: impl FnMut() -> Result<Vec<u8>>) {
    let _echo = echo::Echo::start(&lab.camera, lab.camera.socket_v6(5000)).unwrap();
    let silent = echo::socket(&lab.client, lab.client.socket_v6(6000)).unwrap();
    echo::ask(&silent, lab.camera.socket_v6(5000), b"hello").unwrap();

    let [closed, killed] = [lab.camera.socket_v4(554), lab.camera.socket_v6(554)].map(|address| {
        let listener = lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap();
        let near = lab.client.run(|| TcpStream::connect(address)).unwrap().unwrap();
        (near, listener.accept().unwrap().0)
    });
    let ports = [&closed, &killed].map(|(near, _)| near.local_addr().unwrap().port());
    let port = ports[1].to_string();
    fwx.call(&["conn", "kill", "--port", &port]).unwrap().success().unwrap();
    drop(closed);

    let ended = [(6000, "1"), (ports[0], "3"), (ports[1], "4")].map(|(port, end_reason)| {
        let event = fwx.wait_for_event(&format!("the end of the flow of port {port}"), |event| {
            let is_end = ["connection_closed", "connection_killed"].contains(&&*event.kind);
            is_end && (event.src_port == Some(port) || event.dst_port == Some(port))
        });
        (serde_json::from_str::<Value>(&event.unwrap().line).unwrap(), end_reason)
    });
    let mut messages = Vec::new();
    let records = wait::until_within(MESSAGES as u32, "the records of three flows come", || {
        messages.push(next()?);
        let records = read(lab, &messages)?;
        ensure!(
            ended
                .iter()
                .all(|(event, _)| records.contains_key(&event["flow_id"].as_u64().unwrap())),
            "only of {:?}",
            records.keys()
        );
        Ok(records)
    })
    .unwrap();
    for (event, end_reason) in &ended {
        check(&records[&event["flow_id"].as_u64().unwrap()], event, end_reason);
    }
}

#[test]
fn tshark_reads_the_records_of_datagrams() {
    let lab = Lab::single().unwrap();
    let address = lab.client.socket_v4(4739);
    let collector = echo::socket(&lab.client, address).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy(&format!("udp://{address}")), Mode::Auto).unwrap();
    records_come(&lab, &fwx, || {
        let mut message = vec![0; 65_535];
        let length =
            wait::until_within(40, "a message comes", || Ok(collector.recv(&mut message)?))?;
        message.truncate(length);
        Ok(message)
    });
}

#[test]
fn tshark_reads_the_records_of_a_connection() {
    let lab = Lab::single().unwrap();
    let address = lab.client.socket_v6(4739);
    let listener = lab.client.run(|| TcpListener::bind(address)).unwrap().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy(&format!("tcp://{address}")), Mode::Auto).unwrap();
    let mut collector: Option<TcpStream> = None;
    records_come(&lab, &fwx, || {
        let stream = match &mut collector {
            Some(stream) => stream,
            // The export connects when there is a record to send.
            none => none.insert(listener.accept()?.0),
        };
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let mut message = head.to_vec();
        message.resize(length, 0);
        stream.read_exact(&mut message[4..])?;
        Ok(message)
    });
}
