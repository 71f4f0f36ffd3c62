//! Whose turn it is: which reply answers which command.
//!
//! What a client's bytes mean depends on replies: they are a message if DATA was answered with 354, no SMTP at all
//! any more if STARTTLS was answered with 220. The two directions are read by two parsers, each of which counts
//! what its side said: the client's commands, the connection itself being the first, and the server's replies, the
//! greeting being the first. A reply answers the command with its number.
//!
//! Counting serves to tell a client who does not wait from one who does. For one who does, the last reply is the
//! answer, counted or not. So where the numbers may be wrong (bytes were not seen; a line that some servers take
//! for one command and others for two, or for none) the last reply is what counts, until the client has waited
//! again and the numbers are taken anew.
//!
//! A reply that asks for more, 354 or 334, is given to nothing but commands that are waited for here. One that comes
//! as the answer to another shows that the server reads what is not read here.

use bytemuck::{Pod, Zeroable};

use super::super::finding::Findings;
use super::{Finding, Flags, Parser, Place, State, verb::Verb};

/// Most commands that are waited for and not answered yet. A power of two.
const WAITING_MAX: u32 = 8;

/// Replies to each recipient's message follow, and one to all (PRDR, draft-hall-prdr; Exim): as many as recipients
/// were accepted, which is not counted.
const ANALYSIS: u16 = 353;

/// What each side has said. Each field is written by one of the two parsers and read by both.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Turn {
    // Written by the client's parser.
    /// Commands so far, with the connection itself.
    pub(super) asked: u32,
    /// Those of them that are waited for.
    waits: u32,
    /// The last of these.
    waiting: [Wait; WAITING_MAX as usize],
    /// What `replies` and `losses` were when the last of them ended.
    replies_then: u32,
    losses_then: u32,
    /// What `losses` was when `asked` was right.
    losses_known: u32,
    /// Number of the last greeting by EHLO or its like; 0: there was none.
    pub(super) hello: u32,

    // Written by the server's parser.
    /// Replies so far, with the greeting.
    pub(super) replies: u32,
    /// How often replies may have been lost.
    pub(super) losses: u32,
    /// How many of `waits` are answered.
    answered: u32,
    /// Code of the last reply.
    code: u32,
}

/// A command that is waited for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Wait {
    /// Its number.
    number: u32,
    verb: Verb,
    /// 1: the client did not wait, and went on with the message.
    early: u8,
    reserved: [u8; 2],
}

impl Turn {
    /// Whether the last reply asks for a message, or for more of an AUTH exchange.
    #[inline(always)]
    pub(super) const fn is_more_wanted(&self) -> bool {
        self.code >= 300 && self.code < 400
    }

    /// Whether it grants `verb`. TLS begins behind one code only (RFC 3207 §4): where replies are not counted, that
    /// tells it from those to other commands.
    #[inline(always)]
    const fn is_granted(&self, verb: Verb) -> bool {
        if verb.is_tls() { self.code == 220 } else { self.code >= 200 && self.code < 300 }
    }
}

// The client's side.
impl Parser {
    /// A command, or something else that gets a reply, has ended.
    #[inline(always)]
    pub(super) fn ask(&mut self) {
        self.turn.asked = self.turn.asked.wrapping_add(1);
    }

    /// A command has ended that the client has to wait for.
    #[inline(never)]
    pub(super) fn ask_and_wait(&mut self, server: &Self) -> Findings {
        self.ask();
        let unanswered = self.turn.waits.wrapping_sub(server.turn.answered);
        let Turn { asked, waits, waiting, .. } = &mut self.turn;
        if let Some(wait) = waiting.get_mut((*waits & (WAITING_MAX - 1)) as usize) {
            wait.number = *asked;
            wait.verb = self.verb;
            wait.early = 0;
        }
        *waits = waits.wrapping_add(1);
        self.turn.replies_then = server.turn.replies;
        self.turn.losses_then = server.turn.losses;
        self.state = State::WAITING;
        if unanswered >= WAITING_MAX && self.counts_with(server) {
            return self.report(Finding::RunsAhead.bit());
        }
        Findings::EMPTY
    }

    /// Whether the numbers of commands and replies belong to each other.
    #[inline(always)]
    fn counts_with(&self, server: &Self) -> bool {
        !self.has(Flags::UNCOUNTED)
            && !self.has(Flags::LMTP)
            && self.turn.losses_known == server.turn.losses
    }

    /// Whether a command that is to be waited for has no answer yet.
    #[inline(always)]
    pub(super) fn waits_for(&self, server: &Self) -> bool {
        self.turn.waits != server.turn.answered
    }

    /// Whether BDAT is sent to a server that does not know it. A client that knows the server may say so together
    /// with its greeting (Exim's PIPECONNECT), and is judged by the reply to that.
    #[inline(always)]
    pub(super) fn chunk_is_unannounced(&mut self, server: &Self) -> bool {
        if server.has(Flags::CHUNKING) || server.turn.losses != 0 {
            return false;
        }
        let Turn { hello, .. } = self.turn;
        let greeted = server.turn.replies.wrapping_sub(hello) < 1 << 31;
        if self.counts_with(server) && hello != 0 && !greeted {
            self.set(Flags::EARLY_CHUNK);
            return false;
        }
        true
    }

    /// Numbers may be wrong from here on. A client who does not wait must not be able to hide behind that.
    #[inline(always)]
    pub(super) fn lose_count(&mut self, server: &Self) -> Findings {
        self.set(Flags::UNCOUNTED);
        let chunk = self.has(Flags::EARLY_CHUNK) && !server.has(Flags::CHUNKING);
        if self.waits_for(server) || chunk {
            return self.report(Finding::RunsAhead.bit());
        }
        Findings::EMPTY
    }

    /// The first byte after a command that is waited for: decides what it is.
    #[inline(never)]
    pub(super) fn go_on(&mut self, server: &Self) -> Findings {
        self.start_offset = self.offset;
        let counted = self.counts_with(server);
        let since = server.turn.replies != self.turn.replies_then;
        let answered = if counted { server.turn.replies == self.turn.asked } else { since };
        if answered {
            self.take_answer(server);
            return Findings::EMPTY;
        }
        let deaf = server.has(Flags::JOINING) && !server.has(Flags::HEARD);
        let unknown = deaf || server.turn.losses != self.turn.losses_then;
        if !counted && (unknown || self.has(Flags::JOINING)) {
            self.lose_track();
            return Findings::EMPTY;
        }
        self.go_on_early(counted)
    }

    /// While joining, a reply that nothing else gets proves that what was read were commands.
    #[inline(always)]
    fn take_answer(&mut self, server: &Self) {
        let more = self.verb.is_asked_more_by(server.turn.code);
        let granted = server.turn.is_granted(self.verb);
        if more || granted && self.verb.is_tls() {
            self.clear(Flags::JOINING);
        }
        if !self.has(Flags::JOINING) {
            self.turn.asked = server.turn.replies;
            self.turn.losses_known = server.turn.losses;
            self.clear(Flags::UNCOUNTED);
        }
        self.place = Place::START;
        self.state = State::COMMAND;
        if more {
            match self.verb {
                Verb::DATA => self.begin_text(),
                Verb::XEXCH50 => self.begin_chunk(),
                Verb::AUTH | Verb::X_EXPS => self.state = State::CREDENTIALS,
                _ => {}
            }
        } else if granted {
            match self.verb {
                Verb::LHLO => self.set(Flags::LMTP),
                Verb::TURN | Verb::ATRN => self.state = State::OPAQUE,
                verb if verb.is_tls() => self.state = State::OPAQUE,
                _ => {}
            }
        }
    }

    /// The client did not wait.
    #[inline(always)]
    fn go_on_early(&mut self, counted: bool) -> Findings {
        self.place = Place::START;
        self.state = State::COMMAND;
        match self.verb {
            Verb::DATA => {
                self.begin_text();
                let last = self.turn.waits.wrapping_sub(1) & (WAITING_MAX - 1);
                if let Some(wait) = self.turn.waiting.get_mut(last as usize) {
                    wait.early = 1;
                }
                // Which reply will be the one to DATA can only be told by its number.
                let finding = if counted { Finding::DataBeforeReply } else { Finding::RunsAhead };
                self.report(finding.bit())
            }
            verb if verb.is_tls() => {
                self.state = State::OPAQUE;
                self.report(Finding::PipelinedAfterStarttls.bit())
            }
            verb => {
                self.set(Flags::OUT_OF_TURN);
                if verb.is_auth() {
                    self.set(Flags::EARLY_CREDENTIALS);
                }
                if counted { Findings::EMPTY } else { self.report(Finding::RunsAhead.bit()) }
            }
        }
    }
}

// The server's side.
impl Parser {
    /// A reply has ended, all its lines. `code` is its code.
    #[inline(never)]
    pub(super) fn count_reply(&mut self, client: &Self) -> Findings {
        let counted = client.counts_with(self);
        let nothing_asked = counted && self.turn.replies == client.turn.asked;
        if self.code == 421 {
            // The server closes, of its own accord or in answer to whatever it is (RFC 5321 §3.8).
            self.set(Flags::CLOSING);
        }
        if self.code == ANALYSIS {
            self.turn.losses = self.turn.losses.wrapping_add(1);
            return Findings::EMPTY;
        }
        if nothing_asked {
            if !self.has(Flags::CLOSING) {
                self.pending |= Finding::UnexpectedReply.bit();
            }
            return self.ask_for_nothing();
        }
        self.turn.code = u32::from(self.code);
        if counted {
            return self.count_exactly(client);
        }
        self.turn.replies = self.turn.replies.wrapping_add(1);
        self.turn.answered = client.turn.waits;
        if client.state == State::WAITING {
            return self.answer(client.verb, 0);
        }
        self.ask_for_nothing()
    }

    /// The reply is to none of the commands that are waited for. If it asks for more, the server has understood one
    /// of the others differently, and what follows is a message where commands are read.
    #[inline(always)]
    fn ask_for_nothing(&mut self) -> Findings {
        if self.code / 100 == 3 {
            return self.report(Finding::UnexpectedRequest.bit());
        }
        Findings::EMPTY
    }

    #[inline(always)]
    fn count_exactly(&mut self, client: &Self) -> Findings {
        self.turn.replies = self.turn.replies.wrapping_add(1);
        let mut answers = false;
        let mut findings = Findings::EMPTY;
        let index = self.turn.answered & (WAITING_MAX - 1);
        if let Some(wait) = client.turn.waiting.get(index as usize)
            && self.turn.answered != client.turn.waits
            && self.turn.replies == wait.number
        {
            answers = true;
            self.turn.answered = self.turn.answered.wrapping_add(1);
            findings = self.answer(wait.verb, wait.early);
        }
        if !answers {
            findings = self.ask_for_nothing();
        }
        let to_hello = self.turn.replies == client.turn.hello;
        if to_hello && client.has(Flags::EARLY_CHUNK) && !self.has(Flags::CHUNKING) {
            findings |= self.report(Finding::BdatUnannounced.bit());
        }
        findings
    }

    /// The reply is to `verb`, behind which the client went on if `early`.
    #[inline(always)]
    fn answer(&mut self, verb: Verb, early: u8) -> Findings {
        if early != 0 && !verb.is_asked_more_by(self.turn.code) {
            return self.report(Finding::RunsAhead.bit());
        }
        if !verb.is_asked_more_by(self.turn.code) && self.turn.is_more_wanted() {
            return self.ask_for_nothing();
        }
        if !self.turn.is_granted(verb) {
            return Findings::EMPTY;
        }
        match verb {
            verb if verb.is_tls() => self.state = State::OPAQUE,
            Verb::TURN | Verb::ATRN => {
                self.state = State::OPAQUE;
                self.pending |= Finding::TurnedAround.bit();
            }
            _ => {}
        }
        Findings::EMPTY
    }
}
