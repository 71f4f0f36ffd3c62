//! Drops as fast as a CPU makes them, and a hundred kills a second beside them: every kill is told, in order, and the
//! counters are exact to the packet. How fast it was is printed, and no verdict.

use lab::{Fwx, Lab, Mode, event_flood};

/// A second of them.
const KILLS: u16 = 100;

#[test]
fn drops_crowd_no_kill_out() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(event_flood::POLICY, Mode::Native).unwrap();
    let seen = event_flood::play(&lab, &fwx, KILLS).unwrap();
    println!("{:.0} drops a second: {seen:?}", seen.flood as f64 / seen.took.as_secs_f64());
    assert!(seen.untold.held_back > 0, "more than the rate limit lets through: {seen:?}");
    assert!(seen.with_cause > 0, "some of the drops that kills caused are told: {seen:?}");
    assert!(seen.kills_are_in_order(), "{seen:?}");
    assert!(seen.is_exact(), "{seen:?}");
    assert_eq!(seen.untold.lost, 0, "the rate limit leaves room in the ring: {seen:?}");
}
