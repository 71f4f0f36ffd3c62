//! The parts that images are made of. That whole images say what policies say is tested where they are compiled.

use super::*;

#[test]
fn the_lowest_bit_is_found() {
    for low in 0..64 {
        for high in low..64 {
            assert_eq!(lowest_bit(1 << low | 1 << high), low);
        }
    }
}

#[test]
fn the_first_bit_that_three_lines_have_in_common_is_found() {
    let line = |bits: &[usize]| {
        let mut line = Line::default();
        for bit in bits {
            line.0[bit / 64] |= 1 << (bit % 64);
        }
        line
    };
    for bit in [0, 1, 63, 64, 500, 1022, 1023] {
        let (a, b, c) = (line(&[bit, 1023]), line(&[3, bit, 1023]), line(&[bit, 70, 1023]));
        assert_eq!(first_common(&a, &b, &c, &line(&[2, 71, bit, 1023])), bit as u32);
    }
    let all = line(&[1, 2, 3]);
    for apart in 0..4 {
        let lines = [0, 1, 2, 3].map(|index| if index == apart { line(&[4]) } else { all });
        let [a, b, c, d] = &lines;
        assert_eq!(first_common(a, b, c, d), BLOCK_RULES as u32);
    }
}

#[test]
fn the_earlier_place_is_the_smaller_word() {
    let words = [(0, 9), (1, 1), (1, 2), (16_383, 65_535)]
        .map(|(order, number)| Place { order, number }.to_word());
    assert!(words.is_sorted());
    for word in words {
        assert_eq!(Place::from_word(word).to_word(), word);
        assert!(word < NO_PLACE);
    }
}

#[test]
fn a_service_is_a_port_or_an_icmp_type_or_a_whole_protocol() {
    let packet = |protocol| Packet {
        protocol,
        destination_port: 554,
        icmp_type: 3,
        icmp_code: 4,
        ..Packet::default()
    };
    let asked_for = |protocol| asked_for(&packet(protocol));
    assert_eq!([ip_protocol::TCP, ip_protocol::UDP].map(asked_for), [554; 2]);
    assert_eq!([ip_protocol::ICMP, ip_protocol::ICMPV6].map(asked_for), [0x304; 2]);
    assert_eq!([0, 47, 255].map(asked_for), [0; 3]);
    assert_eq!(service(ip_protocol::TCP, 554), 6 << 16 | 554);
    assert_ne!(service(ip_protocol::TCP, 554), service(ip_protocol::UDP, 554));
}

#[test]
fn what_is_no_image_judges_nothing() {
    let packet = Packet { version: 4, ..Packet::default() };
    assert_eq!(judge(&[][..], &packet, 0), None);
    assert_eq!(judge(&[Line::default()][..], &packet, 0), None);
    let mut line = Line::default();
    line.0[2] = u64::MAX;
    assert_eq!(judge(&[line, line][..], &packet, 0), None);
}
