//! The bytes of a capture, read one record at a time.

use std::io::{self, Read};

use super::CaptureError;

/// Size of the pieces in which bytes are skipped.
const SKIP_BYTES: usize = 4096;

/// A reader that knows where it is, so that errors can tell.
#[derive(Debug)]
pub(super) struct Input<R> {
    reader: R,
    /// Offset of the next byte that [`Input::reader`] gives.
    offset: u64,
    /// Where the current record begins.
    record_offset: u64,
    /// How many packets were read before it.
    packets_before: u64,
    /// The current record as far as it was read. Reused for the next.
    record: Vec<u8>,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, offset: 0, record_offset: 0, packets_before: 0, record: Vec::new() }
    }

    /// The first four bytes of the file, which begin its first record.
    pub(super) fn magic(&mut self) -> Result<[u8; 4], CaptureError> {
        if !self.extend_or_end(4)? {
            return Err(CaptureError::Empty);
        }
        Ok(self.bytes_at(0))
    }

    /// Begins a record where the last one ended, with `packets_before` packets read.
    pub(super) fn begin_record(&mut self, packets_before: u64) {
        self.record.clear();
        self.record_offset = self.offset;
        self.packets_before = packets_before;
    }

    /// Where the current record begins, in bytes from the start of the file.
    pub(super) fn record_offset(&self) -> u64 {
        self.record_offset
    }

    /// The current record as far as it was read.
    pub(super) fn record(&self) -> &[u8] {
        &self.record
    }

    /// Four bytes of the record. Must lie in what was read; what does not counts as 0.
    pub(super) fn bytes_at(&self, at: usize) -> [u8; 4] {
        let bytes = self.record.get(at..).and_then(|rest| rest.first_chunk());
        debug_assert!(bytes.is_some(), "{at} is beyond what was read of the record");
        bytes.copied().unwrap_or_default()
    }

    /// Reads on until `len` bytes of the record are there.
    pub(super) fn extend_to(&mut self, len: usize) -> Result<(), CaptureError> {
        if self.extend_or_end(len)? { Ok(()) } else { Err(self.truncated()) }
    }

    /// Like [`Input::extend_to`]; `false` if the file ended exactly where the record would begin.
    pub(super) fn extend_or_end(&mut self, len: usize) -> Result<bool, CaptureError> {
        let mut filled = self.record.len();
        self.record.resize(len.max(filled), 0);
        while filled < len {
            match read(&mut self.reader, &mut self.record[filled..], self.offset)? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(self.truncated()),
                count => {
                    filled += count;
                    self.offset += count as u64;
                }
            }
        }
        Ok(true)
    }

    /// Reads `len` bytes of the record and keeps none of them.
    pub(super) fn skip(&mut self, len: u64) -> Result<(), CaptureError> {
        let mut piece = [0; SKIP_BYTES];
        let mut left = len;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(SKIP_BYTES);
            match read(&mut self.reader, &mut piece[..wanted], self.offset)? {
                0 => return Err(self.truncated()),
                count => {
                    left -= count as u64;
                    self.offset += count as u64;
                }
            }
        }
        Ok(())
    }

    fn truncated(&self) -> CaptureError {
        CaptureError::Truncated {
            after_packet: self.packets_before,
            offset: self.record_offset,
            file_len: self.offset,
        }
    }
}

/// Reads into `buffer` at `offset` of the file; 0 at its end.
fn read(reader: &mut impl Read, buffer: &mut [u8], offset: u64) -> Result<usize, CaptureError> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CaptureError::Read { offset, error }),
            Ok(count) => return Ok(count),
        }
    }
}
