//! What is told of an instance: by its controller, or without one by what is kept on disk.

use std::{io, os::unix::net::UnixStream};

use anyhow::{Context as _, Result, anyhow};
use firewall_user::{
    event::Event,
    instance::Instance,
    store::{OnDisk, Segments},
    subscribe::{Events, Request},
};

/// Events of an instance.
pub(super) enum Told {
    ByController(Events),
    /// No controller runs. With what is to be said of that.
    OnDisk(Box<OnDisk>, String),
}

impl Told {
    /// Asks the controller. Where none runs the past is read from disk, by whoever may read it.
    ///
    /// # Errors
    ///
    /// There is no controller and nothing on disk, or neither may be read; what follows needs a controller.
    pub(super) async fn ask(instance: &Instance, request: &Request) -> Result<Self> {
        let refused = match Events::ask(instance, request).await {
            Ok(events) => return Ok(Self::ByController(events)),
            Err(refused) => refused,
        };
        if request.follow || !is_without_controller(instance) {
            return Err(refused);
        }
        let segments = Segments::of(instance);
        let directory = segments.directory().to_owned();
        let kept = OnDisk::new(segments, &request.criteria, request.last).await;
        match kept.with_context(|| format!("{refused:#}; root reads those on disk without one"))? {
            Some(events) => {
                let notice = format!(
                    "no controller runs for the instance {:?}: these are the events that are kept in {}",
                    instance.name(),
                    directory.display()
                );
                Ok(Self::OnDisk(Box::new(events), notice))
            }
            None => Err(anyhow!("{refused:#}; on disk, in {}, are none", directory.display())),
        }
    }

    /// What is to be said if they are not the controller's.
    pub(super) fn notice(&self) -> Option<&str> {
        match self {
            Self::ByController(_) => None,
            Self::OnDisk(_, notice) => Some(notice),
        }
    }

    /// The next event. `None`: there are no more, or the controller ended.
    ///
    /// May be cancelled without losing one of the controller.
    pub(super) async fn next(&mut self) -> Result<Option<Event>> {
        match self {
            Self::ByController(events) => events.next().await,
            Self::OnDisk(events, _) => events.next().await,
        }
    }
}

/// Whether nobody listens at the instance's socket.
pub(super) fn is_without_controller(instance: &Instance) -> bool {
    let error = UnixStream::connect(instance.socket()).err();
    let kind = error.map(|error| error.kind());
    matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
}
