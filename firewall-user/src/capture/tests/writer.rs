//! Just enough of a writer of captures, in either byte order.

/// Writes numbers in one byte order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    is_big_endian: bool,
}

pub(super) const LITTLE: Order = Order { is_big_endian: false };
pub(super) const BIG: Order = Order { is_big_endian: true };
pub(super) const ORDERS: [Order; 2] = [LITTLE, BIG];

impl Order {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn i64(self, value: i64) -> [u8; 8] {
        if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// A pcap file.
pub(super) struct Pcap {
    pub(super) bytes: Vec<u8>,
    order: Order,
}

impl Pcap {
    /// With times in microseconds, for Ethernet.
    pub(super) fn new(order: Order) -> Self {
        Self::with_header(order, 0xa1b2_c3d4, 1)
    }

    pub(super) fn with_header(order: Order, magic: u32, link_type: u32) -> Self {
        let mut bytes = Vec::new();
        bytes.extend(order.u32(magic));
        bytes.extend([order.u16(2), order.u16(4)].concat());
        bytes.extend([0, 0, 65_535, link_type].map(|field| order.u32(field)).concat());
        Self { bytes, order }
    }

    pub(super) fn packet(&mut self, seconds: u32, fraction: u32, data: &[u8]) {
        let len = data.len() as u32;
        self.record(seconds, fraction, len, len, data);
    }

    pub(super) fn record(
        &mut self,
        seconds: u32,
        fraction: u32,
        captured: u32,
        original: u32,
        data: &[u8],
    ) {
        let header = [seconds, fraction, captured, original];
        self.bytes.extend(header.map(|field| self.order.u32(field)).concat());
        self.bytes.extend(data);
    }
}

pub(super) const IF_TSRESOL: u16 = 9;
pub(super) const IF_TSOFFSET: u16 = 14;

/// A pcapng file.
pub(super) struct Pcapng {
    pub(super) bytes: Vec<u8>,
    order: Order,
    /// Where each block ends.
    pub(super) block_ends: Vec<usize>,
}

impl Pcapng {
    /// With one section header.
    pub(super) fn new(order: Order) -> Self {
        let mut capture = Self { bytes: Vec::new(), order, block_ends: Vec::new() };
        capture.section(order);
        capture
    }

    pub(super) fn section(&mut self, order: Order) {
        self.order = order;
        let versions = [order.u16(1), order.u16(0)].concat();
        self.block(0x0a0d_0d0a, &[&order.u32(0x1a2b_3c4d)[..], &versions, &order.i64(-1)].concat());
    }

    pub(super) fn interface(&mut self, link_type: u16, snap_len: u32, options: &[(u16, &[u8])]) {
        let mut body = [self.order.u16(link_type), self.order.u16(0)].concat();
        body.extend(self.order.u32(snap_len));
        for (code, value) in options {
            body.extend([self.order.u16(*code), self.order.u16(value.len() as u16)].concat());
            body.extend(padded(value));
        }
        if !options.is_empty() {
            body.extend([0; 4]);
        }
        self.block(1, &body);
    }

    pub(super) fn enhanced(&mut self, interface: u32, ticks: u64, data: &[u8]) {
        let len = data.len() as u32;
        self.enhanced_with_lengths(interface, ticks, len, len, data);
    }

    pub(super) fn enhanced_with_lengths(
        &mut self,
        interface: u32,
        ticks: u64,
        captured: u32,
        original: u32,
        data: &[u8],
    ) {
        let header = [interface, (ticks >> 32) as u32, ticks as u32, captured, original];
        let header = header.map(|field| self.order.u32(field)).concat();
        self.block(6, &[header, padded(data)].concat());
    }

    pub(super) fn simple(&mut self, original: u32, data: &[u8]) {
        self.block(3, &[self.order.u32(original).to_vec(), padded(data)].concat());
    }

    /// A block of any type. `body` is a multiple of 4 bytes long.
    pub(super) fn block(&mut self, block_type: u32, body: &[u8]) {
        let length = self.order.u32(body.len() as u32 + 12);
        self.bytes.extend(self.order.u32(block_type));
        self.bytes.extend(length);
        self.bytes.extend(body);
        self.bytes.extend(length);
        self.block_ends.push(self.bytes.len());
    }
}

/// `data` with zeros up to a multiple of 4 bytes.
fn padded(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(4), 0);
    padded
}

/// A capture with a block of each kind, and two sections of which the second is in the other order.
pub(super) fn pcapng_of_all_kinds(order: Order) -> Vec<u8> {
    all_kinds(order).bytes
}

pub(super) fn all_kinds(order: Order) -> Pcapng {
    let mut capture = Pcapng::new(order);
    capture.interface(1, 0, &[]);
    capture.interface(1, 0, &[(2, b"lan0"), (IF_TSRESOL, &[9])]);
    capture.enhanced(0, 1_000_000, b"first");
    // Name resolution, interface statistics and a type that nobody knows.
    capture.block(4, &[0; 4]);
    capture.block(5, &[0; 12]);
    capture.block(0x0bad_cafe, &[7; 5000]);
    capture.enhanced(1, 2_000_000_000, b"second");
    capture.simple(5, b"third");
    let other = if order.is_big_endian { LITTLE } else { BIG };
    capture.section(other);
    capture.interface(1, 64, &[(IF_TSOFFSET, &other.i64(100))]);
    capture.enhanced(0, 5, b"fourth");
    capture
}
