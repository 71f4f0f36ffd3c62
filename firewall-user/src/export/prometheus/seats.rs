//! Who may be connected: so many at once, and who only waits makes room for who comes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::task::{AbortHandle, JoinSet, yield_now};

/// Most connections at once.
pub(super) const SEATS: usize = 32;

/// Connections, the oldest first. They end with this.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: VecDeque<Seat>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Seat {
    task: AbortHandle,
    turn: Turn,
}

/// Whose turn it is on a connection: the client's, which has to ask or to take its answer, or the server's.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// The client has asked.
    pub(super) fn is_servers(&self) {
        self.0.store(true, Relaxed);
    }

    /// It has its answer, or will have it as soon as it reads.
    pub(super) fn is_clients(&self) {
        self.0.store(false, Relaxed);
    }
}

impl Seats {
    /// Waits for room for one more. If all seats are taken, the connection goes that has waited longest for its client:
    /// so those who connect and say nothing keep nobody out, for whoever asks does so at once.
    pub(super) async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.taken.retain(|seat| !seat.task.is_finished());
            if self.taken.len() < SEATS {
                return;
            }
            // What has come from clients that were let in just now is read first.
            yield_now().await;
            match self.taken.iter().position(|seat| !seat.turn.0.load(Relaxed)) {
                Some(idle) => self.taken.remove(idle).iter().for_each(|seat| seat.task.abort()),
                None => drop(self.tasks.join_next().await),
            }
        }
    }

    /// Lets `connection` run, which says whose turn it is.
    pub(super) fn seat<C>(&mut self, connection: impl FnOnce(Turn) -> C)
    where
        C: Future<Output = ()> + Send + 'static,
    {
        let turn = Turn::default();
        let task = self.tasks.spawn(connection(turn.clone()));
        self.taken.push_back(Seat { task, turn });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::mpsc;

    use super::*;

    /// Tells its number when it ends, however.
    struct Ends(usize, mpsc::UnboundedSender<usize>);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.1.send(self.0);
        }
    }

    #[tokio::test]
    async fn the_oldest_goes_that_waits_for_its_client() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut seats = Seats::default();
        for number in 0..SEATS {
            let ends = Ends(number, tell.clone());
            seats.make_room().await;
            seats.seat(async move |turn| {
                let _ends = ends;
                if number < 2 {
                    turn.is_servers();
                }
                pending::<()>().await;
            });
        }
        assert!(told.try_recv().is_err(), "there was room for all");
        seats.make_room().await;
        assert_eq!(seats.taken.len(), SEATS - 1);
        assert_eq!(told.recv().await, Some(2));
    }
}
