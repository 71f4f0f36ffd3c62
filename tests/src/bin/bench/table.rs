//! Filling the flow tables: every flow in them came about by a handshake that the programs saw.

use anyhow::Result;

use crate::{
    conversation::{Conversation, Family, Service},
    programs::Programs,
    subject::{Hook, Subject},
};

/// Connections that are measured themselves: each round takes another, so that no figure hangs on where
/// one flow happens to lie in the hash. Of these, a second one exists to [`Service::Unbound`].
pub(crate) const MEASURED: u32 = 16;

/// How far the tables are filled.
pub(crate) struct FlowTable {
    unnamed: u32,
}

impl FlowTable {
    pub(crate) fn new() -> Self {
        Self { unnamed: 0 }
    }

    /// Adds established connections until the table of each family holds `flows`.
    pub(crate) fn grow_to(&mut self, flows: u32, programs: &Programs) -> Result<()> {
        let from = self.unnamed;
        if from == 0 {
            establish(programs, Service::Unbound, 0..MEASURED)?;
            for service in [Service::MediaUnbound, Service::MediaFiltered] {
                establish(programs, service, 0..MEASURED)?;
                ask_for_media(programs, service)?;
            }
        }
        self.unnamed = flows - MEASURED;
        establish(programs, Service::Unnamed, from..self.unnamed)
    }
}

fn establish(programs: &Programs, service: Service, numbers: std::ops::Range<u32>) -> Result<()> {
    let program = Subject::EstablishedAck.program(Hook::Xdp);
    for number in numbers {
        for family in Family::ALL {
            for frame in Conversation::new(family, service, number).handshake() {
                programs.run(Hook::Xdp, program, &frame, 1)?;
            }
        }
    }
    Ok(())
}

fn ask_for_media(programs: &Programs, service: Service) -> Result<()> {
    let program = Subject::EstablishedAck.program(Hook::Xdp);
    for number in 0..MEASURED {
        for family in Family::ALL {
            for frame in Conversation::new(family, service, number).asks_for_media() {
                programs.run(Hook::Xdp, program, &frame, 1)?;
            }
        }
    }
    Ok(())
}
