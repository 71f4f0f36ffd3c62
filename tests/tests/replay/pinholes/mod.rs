//! Pinholes through the real programs: what a connection announces gets in although no rule speaks for it, for as
//! long as its session lives, and nothing else does.

mod files;
mod lifetime;
mod opening;
mod room;

use firewall_common::{filter::pinhole::GRACE_NS, flow::State, reason::Reason};
use firewall_user::{event::Event, replay::Hook};
use lab::{
    Packet, policy,
    replaying::{Conversation, Expected, Family, RTSP_PORT, Rig, drops, passes, resets},
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const SECOND: u64 = 1_000_000_000;
/// Ports of the first track.
const MEDIA: Ports = Ports { client: 15_000, server: 16_000 };
/// Those of another one.
const OTHER: Ports = Ports { client: 25_000, server: 26_000 };
/// What no filter lets live.
const NOT_RTSP: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, it may be";

/// Denies all but RTSP from the client's network to the camera's, which the filter enforces.
fn rig(hook: Hook) -> Rig {
    Rig::new(&policy::rtsp_alone(&["lan0"], "enforce"), hook)
}

/// No rule allows it, and nothing announced it.
fn denied() -> Expected {
    drops(Reason::PolicyRulesDenied)
}

/// It is the first packet of a flow that was announced.
fn begins() -> Expected {
    passes(State::Unreplied)
}

/// It is of a flow that was answered.
fn goes_on() -> Expected {
    passes(State::Assured)
}

fn killed() -> Expected {
    resets(Reason::ConnectionKilled).in_state(State::Killed)
}

/// Where RTP goes; RTCP has the next port at each end.
#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    server: u16,
}

impl Ports {
    /// The pair for RTCP.
    fn rtcp(self) -> Self {
        Self { client: self.client + 1, server: self.server + 1 }
    }

    /// A datagram from the client.
    fn up(self, family: Family) -> Packet {
        family.udp(self.client, self.server)
    }

    /// A datagram from the camera.
    fn down(self, family: Family) -> Packet {
        family.udp_back(self.server, self.client)
    }

    fn wanted(self) -> String {
        let Self { client, .. } = self;
        format!("Transport: RTP/AVP;unicast;client_port={client}-{}", client + 1)
    }

    fn granted(self) -> String {
        let Self { server, .. } = self;
        format!("{};server_port={server}-{}", self.wanted(), server + 1)
    }

    /// Datagrams of the client and of the camera, which begin a flow and complete it.
    fn flow(self, rig: &mut Rig, family: Family) {
        rig.expect("media begins", &self.up(family), begins());
        rig.expect("media is answered", &self.down(family), goes_on());
    }
}

/// A connection over which sessions are set up.
struct Control {
    talk: Conversation,
    cseq: u32,
}

impl Control {
    fn begin(rig: &mut Rig, family: Family, port: u16) -> Self {
        Self::over(rig, Conversation::new(family, port, RTSP_PORT))
    }

    /// The same over a connection that has yet to begin.
    fn over(rig: &mut Rig, talk: Conversation) -> Self {
        Self { talk: talk.shaking_hands(rig), cseq: 0 }
    }

    /// A connection with one session.
    fn of_session(rig: &mut Rig, family: Family, port: u16, ports: Ports, session: &str) -> Self {
        let mut control = Self::begin(rig, family, port);
        control.sets_up(rig, ports, session);
        control
    }

    /// The client asks for something.
    fn asks(&mut self, rig: &mut Rig, method: &str, headers: &[&str]) {
        self.cseq += 1;
        let request = message(&format!("{method} rtsp://camera/ RTSP/1.0"), self.cseq, headers);
        let request = self.talk.client_sends("PA", request.as_bytes());
        rig.expect(method, &request, passes(State::Established));
    }

    /// The reply to what the client asked for last.
    fn reply(&self, headers: &[&str]) -> String {
        message("RTSP/1.0 200 OK", self.cseq, headers)
    }

    /// The camera grants what the client asked for last.
    fn grants(&mut self, rig: &mut Rig, headers: &[&str]) {
        let reply = self.talk.server_sends("PA", self.reply(headers).as_bytes());
        rig.expect("a reply", &reply, passes(State::Established));
    }

    /// The client asks for something, and it is granted.
    fn does(&mut self, rig: &mut Rig, method: &str, headers: &[&str]) {
        self.asks(rig, method, headers);
        self.grants(rig, headers);
    }

    /// A track of the session is set up.
    fn sets_up(&mut self, rig: &mut Rig, ports: Ports, session: &str) {
        self.asks(rig, "SETUP", &[&ports.wanted()]);
        self.grants(rig, &[&ports.granted(), session]);
    }

    /// Both ends close it.
    fn closes(&mut self, rig: &mut Rig) {
        for (packet, state) in [
            (self.talk.client_sends("FA", b""), State::FinWait),
            (self.talk.server_sends("FA", b""), State::LastAck),
            (self.talk.client_sends("A", b""), State::TimeWait),
        ] {
            rig.expect("it closes", &packet, passes(state));
        }
    }

    /// The filter kills it. Returns the event that says so.
    fn is_killed(&mut self, rig: &mut Rig) -> Event {
        rig.events();
        let bad = self.talk.client_sends("PA", NOT_RTSP);
        rig.expect("what is not RTSP", &bad, killed());
        let kill = rig.events_of("connection_killed").pop();
        kill.expect("the kill is told")
    }
}

fn message(start: &str, cseq: u32, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{start}\r\nCSeq: {cseq}\r\n{headers}\r\n")
}
