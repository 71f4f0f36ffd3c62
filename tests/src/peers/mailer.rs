//! Who sends mail: curl, and a client of our own, line by line, for what no real client does.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::viewer::End;
use crate::host::Host;

/// Longer than a few retransmissions, because a filter may hold back a segment so that it is repeated.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has curl send `mail` from `host` to the server at `address`; `tls`: with STARTTLS.
pub fn send(host: &Host, address: SocketAddr, mail: &[u8], tls: bool) -> Result<()> {
    let file = host.write_file("mail.txt", mail)?;
    let mut curl = host.command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "60"]);
    curl.args(["--mail-from", "sender@client.example", "--mail-rcpt", "box@lab.example"]);
    if tls {
        curl.args(["--ssl-reqd", "--insecure"]);
    }
    curl.arg(format!("smtp://{address}/client.example")).arg("--upload-file").arg(file);
    host.output(&mut curl).map(drop)
}

/// A connection to a mail server.
#[derive(Debug)]
pub struct Mailer {
    stream: TcpStream,
    local: SocketAddr,
}

impl Mailer {
    /// Connects from `host` to the server at `address`, and waits for its greeting.
    pub fn connect(host: &Host, address: SocketAddr) -> Result<Self> {
        let stream = host
            .run(|| TcpStream::connect_timeout(&address, PATIENCE))?
            .with_context(|| format!("cannot connect from the {} to {address}", host.role()))?;
        stream.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
        let local = stream.local_addr().context("a connection has a local address")?;
        let mut mailer = Self { stream, local };
        let greeting = mailer.reply()?;
        ensure!(greeting.starts_with("220"), "the server greets with {greeting:?}");
        Ok(mailer)
    }

    /// The client's end of the connection.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Says `text` and waits for the reply, which must have this `code`.
    pub fn ask(&mut self, text: &str, code: &str) -> Result<()> {
        self.say(text)?;
        let reply = self.reply()?;
        ensure!(reply.starts_with(code), "the server answers {text:?} with {reply:?}");
        Ok(())
    }

    /// Says `text`.
    pub fn say(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes()).with_context(|| format!("cannot say {text:?}"))
    }

    /// Reads to the connection's end and says how it came.
    pub fn read_to_end(&mut self) -> End {
        match self.stream.read_to_end(&mut Vec::new()) {
            Ok(_) => End::Closed,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            Err(_) => End::TimedOut,
        }
    }

    /// A whole reply, all its lines.
    fn reply(&mut self) -> Result<String> {
        let mut reply = String::new();
        let mut byte = [0];
        loop {
            let begin = reply.len();
            while !reply.ends_with('\n') || reply.len() == begin {
                self.stream.read_exact(&mut byte).with_context(|| format!("after {reply:?}"))?;
                reply.push(char::from(byte[0]));
            }
            if reply.as_bytes().get(begin + 3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }
}
