//! Pinholes: flows that a filter lets in because a connection announced them, and what they belong to.
//! [`firewall_common::filter::pinhole`] says what these are.

use firewall_common::{
    filter::{
        parser::Outcome,
        pinhole::{Begins, Family, Opened, Pinhole, PinholeKey, Session, Wish},
    },
    flow::{Flow, State},
    layout::Counter,
    reason::Reason,
    words::clear,
};

use crate::{
    atomic, filter,
    frame::Frame,
    judge,
    maps::{FAMILIES, PINHOLES, PINHOLES_USED, SECRET, SESSIONS},
    report,
    work::Work,
};

/// As exact as a session's last sign of life has to be, nanoseconds: it saves the write for most packets.
const RENEWED_EVERY: u64 = 1_000_000_000;
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// Does what a wish asks for, and says so where it cannot be done.
#[inline(always)]
pub fn act<F: Frame>(frame: &F, work: &mut Work, wish: &Wish, outcome: Outcome) {
    if fulfil(work, wish, (outcome.bits() >> 32) as u32) != DONE {
        work.refuse(Reason::OutOfResources);
        report::passed_unread(frame, work);
    }
}

const DONE: u32 = 0;
const NO_ROOM: u32 = 1;

/// What [`act`] calls, as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulfil(work: *mut Work, wish: *const Wish, acts: u32) -> u32 {
    // SAFETY: the caller passes a reference, or so the verifier will not believe: hence the check.
    let (Some(work), Some(wish)) = (Work::passed(work), unsafe { wish.as_ref() }) else {
        return NO_ROOM;
    };
    let acts = Outcome::from_bits(u64::from(acts) << 32);
    let Some(secret) = SECRET.get(0) else {
        return NO_ROOM;
    };
    let key = Session::key(secret, wish, &work.scene, work.direction, work.flow_id);
    if acts.has(Outcome::OPEN) && !open(work, wish, key) {
        report::count(Counter::PinholesRefused, u64::from(wish.ports));
        return NO_ROOM;
    }
    if acts.has(Outcome::ALIVE) {
        if wish.session == 0 {
            renew_family(work.flow_id, work.now);
        } else if let Some(session) = live_session(key, work.now) {
            take_up(work, wish, key, session, acts);
        }
    }
    if acts.has(Outcome::CLOSE)
        && session(key).is_some_and(|session| session.parent == work.flow_id)
    {
        let _ = SESSIONS.remove(key);
    }
    DONE
}

/// A sign of life of a session: by the connection that it belongs to, or by another one (RFC 2326 §12.37) whose
/// server agrees. Who only knows a session's name cannot do anything to it.
#[inline(always)]
fn take_up(work: &Work, wish: &Wish, key: u64, session: &mut Session, acts: Outcome) {
    if session.parent != work.flow_id {
        // Should it have no room left for another one, the session ends as that of the one before.
        if !acts.has(Outcome::TAKE) || !join_family(work.flow_id, key, work.now) {
            return;
        }
        session.belongs_to(work.flow_id);
    }
    session.renew(wish, work.now);
}

/// Whether a session goes on, as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_live(key: u64, now: u64) -> u32 {
    u32::from(live_session(key, now).is_some())
}

/// The session, if it has not ended.
#[inline(always)]
fn live_session(key: u64, now: u64) -> Option<&'static mut Session> {
    session(key).filter(|session| !session.is_over(now))
}

#[inline(always)]
fn session(key: u64) -> Option<&'static mut Session> {
    // SAFETY: map values stay readable and writable for as long as the program runs.
    SESSIONS.get_ptr_mut(key).map(|session| unsafe { &mut *session })
}

/// Opens what the wish asks for. `false`: there is no room, or the session has enough.
#[inline(always)]
fn open(work: &mut Work, wish: &Wish, key: u64) -> bool {
    if !join_family(work.flow_id, key, work.now) || !begin_session(work, wish, key) {
        return false;
    }
    let Some(session) = session(key) else {
        return false;
    };
    session.renew(wish, work.now);
    session.belongs_to(work.flow_id);
    if let Some(used) = PINHOLES_USED.get_ptr_mut(0) {
        // SAFETY: the entry is a number, and whoever writes it writes the same.
        unsafe { *used = 1 }
    }
    if wish.once != 0 {
        close_last(session);
    }
    let opens = wish.opens(&work.scene);
    if !session.take(opens.count()) {
        return false;
    }
    work.pinhole =
        Pinhole { session: key, opened: work.now, rule: work.rule, ..Pinhole::default() };
    let mut all = true;
    if opens.by_originator {
        all &= open_one(work, wish, Begins::Originator, opens.two);
    }
    if opens.by_responder {
        all &= open_one(work, wish, Begins::Responder, opens.two);
    }
    if wish.once != 0 {
        session.once = work.pinhole_key;
    }
    all
}

/// Opens what one of the ends may begin.
#[inline(always)]
fn open_one(work: &mut Work, wish: &Wish, by: Begins, two: bool) -> bool {
    insert(work, wish, Opened { by, second: false })
        && (!two || insert(work, wish, Opened { by, second: true }))
}

#[inline(always)]
fn insert(work: &mut Work, wish: &Wish, opened: Opened) -> bool {
    let Work { scene, direction, pinhole_key, pinhole, .. } = work;
    wish.lay_out(scene, *direction, opened, pinhole_key, pinhole);
    let inserted = PINHOLES.insert(&*pinhole_key, &*pinhole, BPF_ANY).is_ok();
    if inserted {
        report::count(Counter::PinholesOpened, 1);
    }
    inserted
}

/// Makes sure that there is a session that has not ended. `false`: there is no room.
#[inline(always)]
fn begin_session(work: &mut Work, wish: &Wish, key: u64) -> bool {
    if is_live(key, work.now) != 0 {
        return true;
    }
    work.session.begin(wish, work.flow_id, work.protocol, work.now);
    SESSIONS.insert(key, &work.session, BPF_ANY).is_ok()
}

/// Closes the session's last pinhole for one flow, if none has begun: who announces another one has given it up.
#[inline(always)]
fn close_last(session: &mut Session) {
    if PINHOLES.remove(&session.once).is_ok() {
        session.pinholes = session.pinholes.saturating_sub(1);
    }
}

/// Notes that a session belongs to a connection. `false`: that has too many.
#[inline(always)]
fn join_family(flow_id: u64, key: u64, now: u64) -> bool {
    if FAMILIES.get_ptr_mut(flow_id).is_none() {
        // Should another CPU be first, its entry is the one to use.
        let _ = FAMILIES.insert(flow_id, &Family::default(), BPF_NOEXIST);
    }
    let Some(family) = FAMILIES.get_ptr_mut(flow_id) else {
        return false;
    };
    // SAFETY: map values stay readable and writable for as long as the program runs.
    let family = unsafe { &mut *family };
    let place = family.place_of(key, |known| is_live(known, now) != 0);
    match place.and_then(|place| family.sessions.get_mut(place)) {
        Some(place) => {
            *place = key;
            true
        }
        None => false,
    }
}

/// A sign of life of all sessions of a connection.
#[inline(always)]
fn renew_family(flow_id: u64, now: u64) {
    let Some(family) = FAMILIES.get_ptr_mut(flow_id) else {
        return;
    };
    // SAFETY: as above.
    for key in unsafe { &(*family).sessions } {
        if *key != 0
            && let Some(session) = live_session(*key, now)
            && session.parent == flow_id
        {
            session.last_seen = now;
        }
    }
}

/// The connection `flow_id` is of another protocol from here on, and what it announces goes by that one's binding.
#[inline(always)]
pub fn parent_changed(flow_id: u64, protocol: u16) {
    let Some(family) = FAMILIES.get_ptr_mut(flow_id) else {
        return;
    };
    // SAFETY: as above.
    for key in unsafe { &(*family).sessions } {
        if *key != 0
            && let Some(session) = session(*key)
            && session.parent == flow_id
        {
            session.protocol = u32::from(protocol);
        }
    }
}

/// The connection `flow_id` has ended: by itself, or by the kill with the number `killed_by`. What it announced
/// ends too, after a while or at once.
#[inline(always)]
pub fn parent_ended(flow_id: u64, now: u64, killed_by: u64) {
    // Most machines never open one, and most connections announce nothing.
    if PINHOLES_USED.get(0).is_some_and(|used| *used != 0) {
        end_family(flow_id, now, killed_by);
    }
}

/// [`parent_ended`] where there may be something to end, as a function that the verifier knows by its signature
/// alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn end_family(flow_id: u64, now: u64, killed_by: u64) -> u32 {
    let Some(family) = FAMILIES.get_ptr_mut(flow_id) else {
        return DONE;
    };
    // SAFETY: as above.
    for key in unsafe { &(*family).sessions } {
        if *key != 0
            && let Some(session) = session(*key)
            && session.parent == flow_id
        {
            // Who sees on another CPU that it is over sees the kill too; and a kill stays one.
            if killed_by != 0 {
                atomic::write_first(&mut session.killed_by, killed_by);
            }
            session.parent_ended(now, killed_by != 0);
        }
    }
    let _ = FAMILIES.remove(flow_id);
    DONE
}

/// Whether the packet on the desk, of no known flow, may begin one that was announced. The desk then has the
/// session and the rule.
#[inline(always)]
pub fn let_in(work: &mut Work) -> bool {
    PINHOLES_USED.get(0).is_some_and(|used| *used != 0) && announced(work) != 0
}

/// What [`let_in`] calls where there are pinholes, as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn announced(work: *mut Work) -> u32 {
    let Some(work) = Work::passed(work) else {
        return 0;
    };
    lay_out_key(work);
    let Some(pinhole) = PINHOLES.get_ptr_mut(&work.pinhole_key) else {
        return 0;
    };
    // SAFETY: as above.
    let pinhole = unsafe { &*pinhole };
    let from_anywhere = pinhole.source_port == 0;
    if !from_anywhere && pinhole.source_port != work.packet.source_port {
        return 0;
    }
    let session = live_session(pinhole.session, work.now);
    let Some(session) = session.filter(|session| session.has(pinhole.opened)) else {
        let _ = PINHOLES.remove(&work.pinhole_key);
        return 0;
    };
    // Where no filter is bound any more, only rules count.
    if !filter::is_bound(work, session.protocol) {
        return 0;
    }
    work.kin = pinhole.session;
    work.parent = session.parent;
    work.rule = pinhole.rule;
    work.protocol = 0;
    judge::note_rule_of_pinhole(work);
    1
}

/// The flow has begun that the pinhole was for.
#[inline(always)]
pub fn begun(work: &mut Work) {
    report::count(Counter::PinholeFlows, 1);
    lay_out_key(work);
    let Some(pinhole) = PINHOLES.get_ptr_mut(&work.pinhole_key) else {
        return;
    };
    // SAFETY: as above.
    let pinhole = unsafe { &*pinhole };
    if pinhole.once != 0 {
        // It makes room for another: an FTP session may fetch any number of files.
        if let Some(session) = session(pinhole.session) {
            session.pinholes = session.pinholes.saturating_sub(1);
        }
        let _ = PINHOLES.remove(&work.pinhole_key);
    }
}

#[inline(always)]
fn lay_out_key(work: &mut Work) {
    work.pinhole_key = PinholeKey {
        source: work.packet.source,
        destination: work.packet.destination,
        port: work.packet.destination_port,
        transport: work.packet.protocol,
        version: work.packet.version,
    };
}

/// Whether the flow was announced, and what it belongs to has ended.
#[inline(always)]
pub fn is_left_behind(flow: &Flow, now: u64) -> bool {
    flow.is_child()
        && flow.state() != State::Killed
        && Session::is_key(flow.kin)
        && session(flow.kin).is_none_or(|session| session.is_over(now))
}

/// Whether a flow that was announced may go on: its session has not ended. A flow whose connection was killed
/// has become a tombstone of that kill.
#[inline(always)]
pub fn goes_on(work: &mut Work, flow: &mut Flow) -> bool {
    let kin = flow.kin;
    if !Session::is_key(kin) {
        // Another CPU has just killed it.
        atomic::entomb(flow, kin, work.now);
        clear(&mut work.parent);
        return true;
    }
    let Some(session) = session(kin).filter(|session| session.has(flow.created)) else {
        return false;
    };
    work.parent = session.parent;
    if !session.is_over(work.now) {
        if work.now.saturating_sub(session.last_seen) > RENEWED_EVERY {
            session.last_seen = work.now;
        }
        return true;
    }
    match atomic::read_last(&mut session.killed_by) {
        0 => false,
        kill => {
            atomic::entomb(flow, kill, work.now);
            true
        }
    }
}
