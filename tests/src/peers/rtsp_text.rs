//! The little of RTSP that recorder and viewer need: messages and `$` frames, read from a TCP stream.
//! Lenient by design: the viewer understands the recorder's dialect.

use std::{
    collections::VecDeque,
    io::{self, Read as _},
    net::TcpStream,
};

/// A header or body longer than this is not one of ours.
const MAX_BUFFERED_BYTES: usize = 256 * 1024;

/// What stands next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Message(Message),
    /// An interleaved frame: its channel and its payload.
    Frame(u8, Vec<u8>),
}

/// A request or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    /// Names and values, without the blanks around them.
    pub headers: Vec<(String, String)>,
    /// As long as Content-Length says.
    pub body: Vec<u8>,
}

impl Message {
    /// The value of the header `name`, whose case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }

    /// The number of a reply; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("RTSP/1.0 ")?.split(' ').next()?.parse().ok()
    }

    /// The method of a request; `None` for a reply.
    pub fn method(&self) -> Option<&str> {
        match self.status() {
            Some(_) => None,
            None => self.start.split(' ').next(),
        }
    }
}

/// Takes a stream of bytes apart.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: VecDeque<u8>,
}

impl Reader {
    /// The next message or frame. `Ok(None)` is the end of the stream; timeouts are the stream's.
    pub(super) fn next(&mut self, stream: &mut TcpStream) -> io::Result<Option<Item>> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(item) = self.take_item()? {
                return Ok(Some(item));
            }
            if self.buffer.len() > MAX_BUFFERED_BYTES {
                return Err(not_rtsp("a message without end"));
            }
            match stream.read(&mut chunk)? {
                0 => return Ok(None),
                read => self.buffer.extend(&chunk[..read]),
            }
        }
    }

    /// Takes an item off the buffer, if a whole one is there.
    fn take_item(&mut self) -> io::Result<Option<Item>> {
        let bytes = self.buffer.make_contiguous();
        if let [b'$', rest @ ..] = bytes {
            let [channel, high, low, payload @ ..] = rest else { return Ok(None) };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(payload) = payload.get(..length) else { return Ok(None) };
            let item = Item::Frame(*channel, payload.to_vec());
            self.buffer.drain(..4 + length);
            return Ok(Some(item));
        }

        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head =
            std::str::from_utf8(&bytes[..end]).map_err(|_| not_rtsp("a head not in UTF-8"))?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let mut message = Message { start, headers, body: Vec::new() };

        let length = match message.header("content-length") {
            Some(text) => text.parse().map_err(|_| not_rtsp("a Content-Length"))?,
            None => 0,
        };
        let body = end + 4;
        let Some(content) = bytes.get(body..).and_then(|rest| rest.get(..length)) else {
            return Ok(None);
        };
        message.body = content.to_vec();
        self.buffer.drain(..body + length);
        Ok(Some(Item::Message(message)))
    }
}

fn not_rtsp(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not the RTSP we speak: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_frames_are_taken_apart_once_they_are_whole() {
        let bytes = b"RTSP/1.0 200 OK\r\nSession:        7083\r\ncontent-length: 2\r\n\r\nhi\
                      $\x01\x00\x03abcX_PING * RTSP/1.0\r\n\r\n";
        let mut reader = Reader::default();
        let mut items = Vec::new();
        for &byte in bytes {
            reader.buffer.push_back(byte);
            items.extend(reader.take_item().unwrap());
        }
        let [Item::Message(reply), Item::Frame(1, payload), Item::Message(request)] = &items[..]
        else {
            panic!("{items:?}");
        };
        assert_eq!((reply.status(), reply.header("session")), (Some(200), Some("7083")));
        assert_eq!(reply.body, b"hi");
        assert_eq!(payload, b"abc");
        assert_eq!((request.status(), request.method()), (None, Some("X_PING")));
    }
}
