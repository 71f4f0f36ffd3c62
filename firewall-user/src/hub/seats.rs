//! How many programs may have the socket open at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Programs that may have the socket open at a time.
pub const SEATS: usize = 128;
/// Those of them that are root's alone, so that nobody keeps `fwx conn flush` and `fwx confirm` from telling what they
/// did.
const FOR_ROOT: usize = 32;

/// The places at the socket.
#[derive(Clone, Debug, Default)]
pub struct Seats(Arc<AtomicUsize>);

/// A place at the socket, until it is dropped.
#[derive(Debug)]
pub struct Seat(Seats);

impl Seats {
    /// How many root may take, or all others together.
    pub const fn limit(is_root: bool) -> usize {
        if is_root { SEATS } else { SEATS - FOR_ROOT }
    }

    /// A place, for root or another user. `None`: all are taken.
    pub fn take(&self, is_root: bool) -> Option<Seat> {
        let limit = Self::limit(is_root);
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        self.0.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Seat(self.clone()))
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seats_are_roots() {
        let seats = Seats::default();
        let mut taken: Vec<_> = std::iter::from_fn(|| seats.take(false)).collect();
        assert_eq!(taken.len(), SEATS - FOR_ROOT);
        taken.extend(std::iter::from_fn(|| seats.take(true)));
        assert_eq!((taken.len(), seats.taken()), (SEATS, SEATS));
        taken.truncate(1);
        assert!(seats.take(false).is_some());
        assert_eq!(seats.taken(), 1);
    }
}
