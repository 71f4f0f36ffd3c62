//! Whether a SYN attack is on, as an administrator is told.

use firewall_common::layout::Attack;

/// What was told last.
#[derive(Debug, Default)]
pub struct AttackWatch {
    told: bool,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// An attack is on.
    Begins,
    /// It is over.
    Ends,
}

/// The kernel ends an attack only when a SYN comes that it would challenge. Returns what has to lie in its table
/// where the attack has drained away at `now`, nanoseconds of the monotonic clock.
pub const fn ended(attack: Attack, now: u64) -> Option<Attack> {
    if attack.since != 0 && attack.unanswered <= now {
        Some(Attack { since: 0, ..attack })
    } else {
        None
    }
}

impl AttackWatch {
    /// Whether something changed.
    pub const fn look(&mut self, attack: Attack) -> Option<Told> {
        let on = attack.since != 0;
        if on == self.told {
            return None;
        }
        self.told = on;
        Some(if on { Told::Begins } else { Told::Ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_is_told_once_and_its_end_too() {
        let mut watch = AttackWatch::default();
        let quiet = Attack::default();
        let on = Attack { unanswered: 50, since: 10 };
        assert_eq!(watch.look(quiet), None);
        assert_eq!(watch.look(on), Some(Told::Begins));
        assert_eq!(watch.look(on), None);
        assert_eq!(ended(on, 49), None);
        let over = ended(on, 50).unwrap();
        assert_eq!(over, Attack { unanswered: 50, since: 0 });
        assert_eq!(watch.look(over), Some(Told::Ends));
        assert_eq!(ended(over, 60), None);
        assert_eq!(watch.look(over), None);
    }
}
