//! Who may use the socket, as policies say it one after the other.

use anyhow::Result;
use tokio::task::JoinHandle;

use super::socket::set_group;
use crate::{events::EventSettings, instance::Instance};

/// Follows what policies say. What a group's number is may be asked of a directory in the network (nsswitch.conf(5)), so
/// that is done beside the controller's loop.
#[derive(Debug, Default)]
pub struct Access {
    /// What was said last, and is not begun.
    wanted: Option<EventSettings>,
    setting: Option<JoinHandle<Result<()>>>,
}

impl Access {
    /// Lets those read events whom the settings name: soon, and behind what was said before.
    pub fn follow(&mut self, instance: &Instance, settings: &EventSettings) {
        self.wanted = Some(settings.clone());
        self.begin(instance);
    }

    /// Goes on with what there is to do. Never waits.
    ///
    /// # Errors
    ///
    /// What was said cannot be done, for there is no such group, say: root alone may.
    pub async fn look(&mut self, instance: &Instance) -> Result<()> {
        let Some(done) = self.setting.take_if(|it| it.is_finished()) else { return Ok(()) };
        let done = done.await;
        self.begin(instance);
        done?
    }

    fn begin(&mut self, instance: &Instance) {
        if self.setting.is_none()
            && let Some(settings) = self.wanted.take()
        {
            let instance = instance.clone();
            let set = move || set_group(&instance, &settings);
            self.setting = Some(tokio::task::spawn_blocking(set));
        }
    }
}
