//! Where there is no room for more: that is refused, counted and told, and the message passes.

use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use firewall_common::{
    filter::pinhole::{Family as Sessions, Pinhole, PinholeKey, SESSIONS_MAX, Session},
    layout::Counter,
};
use lab::replaying::{FAMILIES, Family, Rig};

use super::{Control, HOOKS, MEDIA, OTHER, Ports, SECOND, denied, rig};

/// A table in which there is no room.
struct Full<K: Pod, V: Pod> {
    table: HashMap<MapData, K, V>,
    keys: Vec<K>,
}

impl<K: Pod, V: Pod + Default> Full<K, V> {
    /// Fills the table `name` with entries that mean nothing.
    fn of(rig: &Rig, name: &str, key: impl Fn(u64) -> K) -> Self {
        let mut table = rig.tables().open::<HashMap<MapData, K, V>>(name).unwrap();
        let keys = (1..).map(key);
        let keys = keys.take_while(|key| table.insert(key, V::default(), 0).is_ok()).collect();
        Self { table, keys }
    }

    fn empty(mut self) {
        for key in self.keys {
            self.table.remove(&key).unwrap();
        }
    }
}

/// A SETUP that finds no room passes, opens nothing, and both are told.
fn finds_no_room(rig: &mut Rig, family: Family, control: &mut Control, ports: Ports, name: &str) {
    let refused = |rig: &Rig| rig.tables().counter(Counter::PinholesRefused).unwrap();
    let before = refused(rig);
    rig.events();
    control.sets_up(rig, ports, name);
    assert_eq!(refused(rig) - before, 2, "RTP and RTCP");
    let events = rig.events_of("filter_finding");
    let [event] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!(event.reason.as_deref(), Some("FWX_E_OUT_OF_RESOURCES"));
    assert_eq!(event.protocol.as_deref(), Some("rtsp"));
    for ports in [ports, ports.rtcp()] {
        rig.expect("it was not opened", &ports.up(family), denied());
        rig.expect("it was not opened", &ports.down(family), denied());
    }
}

#[test]
fn without_room_for_pinholes_none_is_opened() {
    without_room::<PinholeKey, Pinhole>("PINHOLES", |number| PinholeKey {
        source: [number as u32, 1, 2, 3],
        ..PinholeKey::default()
    });
}

#[test]
fn without_room_for_sessions_none_is_opened() {
    without_room::<u64, Session>("SESSIONS", |number| u64::MAX - number);
}

#[test]
fn without_room_for_their_connections_none_is_opened() {
    without_room::<u64, Sessions>("FAMILIES", |number| u64::MAX - number);
}

fn without_room<K: Pod, V: Pod + Default>(name: &str, key: fn(u64) -> K) {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::begin(&mut rig, family, 40_000);
            let full = Full::<K, V>::of(&rig, name, key);
            finds_no_room(&mut rig, family, &mut control, MEDIA, "Session: one");
            full.empty();
            control.sets_up(&mut rig, OTHER, "Session: one");
            OTHER.flow(&mut rig, family);
        }
    }
}

#[test]
fn a_connection_may_have_so_many_sessions_and_no_more() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::begin(&mut rig, family, 40_000);
            let ports = |number: usize| {
                let number = 2 * number as u16;
                Ports { client: MEDIA.client + number, server: MEDIA.server + number }
            };
            for number in 0..SESSIONS_MAX {
                control.sets_up(&mut rig, ports(number), &format!("Session: {number}"));
                ports(number).flow(&mut rig, family);
            }
            let one_more = ports(SESSIONS_MAX);
            let before = sessions(&rig);
            finds_no_room(&mut rig, family, &mut control, one_more, "Session: more");
            assert_eq!(sessions(&rig), before, "it leaves nothing behind");
            // A further track of one that it has is another matter.
            control.sets_up(&mut rig, OTHER, "Session: 0");
            OTHER.flow(&mut rig, family);
        }
    }
}

/// How many sessions there are, of all connections.
fn sessions(rig: &Rig) -> usize {
    rig.tables().open::<HashMap<MapData, u64, Session>>("SESSIONS").unwrap().keys().count()
}

#[test]
fn a_session_that_has_ended_gives_its_room_back() {
    const ROUNDS: usize = 3 * SESSIONS_MAX;
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::begin(&mut rig, family, 40_000);
            for number in 0..ROUNDS {
                let session = format!("Session: {number}");
                control.sets_up(&mut rig, MEDIA, &session);
                MEDIA.flow(&mut rig, family);
                control.does(&mut rig, "TEARDOWN", &[&session]);
            }
            // By silence, too.
            for number in 0..ROUNDS {
                control.sets_up(&mut rig, OTHER, &format!("Session: silent{number};timeout=1"));
                OTHER.flow(&mut rig, family);
                rig.wait(2 * SECOND);
            }
        }
        assert_eq!(rig.tables().counter(Counter::PinholesRefused).unwrap(), 0, "{hook:?}");
    }
}
