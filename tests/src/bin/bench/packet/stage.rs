//! What has to be there before a packet is measured, and what goes afterwards: every flow came about by packets that
//! the programs saw.

use anyhow::{Context as _, Result, ensure};
use aya::{Pod, maps::HashMap};
use firewall_common::{
    datagram::Datagram,
    flow::{Flow, FragmentKey, KeyV4, KeyV6},
    layout::Counter,
    step::{Change, Step},
};
use firewall_user::tables::ignore_missing;

use super::{
    conversation::{Conversation, Family, Service, stepping},
    programs::Programs,
    subject::{Hook, Program, Subject},
};

/// Flows that begin together while the tables are filled: few enough for the tables of those without an answer.
const TOGETHER: u32 = 50_000;
/// Each round takes another of the flows, so that no figure hangs on where one happens to lie in the hash.
const NEXT_FLOW: u32 = 7_919;

/// The programs, and how far their tables are filled.
pub(crate) struct Stage {
    pub(crate) programs: Programs,
    /// Established connections of each family, to [`Service::Unnamed`].
    flows: u32,
    /// Connections and exchanges that were made for one figure each: the number of the next one.
    singles: u32,
}

impl Stage {
    pub(crate) fn new(programs: Programs) -> Self {
        Self { programs, flows: 0, singles: 0 }
    }

    /// Adds established connections until the table of each family holds `flows`.
    pub(crate) fn grow_to(&mut self, flows: u32) -> Result<()> {
        let completed = self.programs.tables().counter(Counter::FlowsCompleted)?;
        for from in (self.flows..flows).step_by(TOGETHER as usize) {
            let count = TOGETHER.min(flows - from);
            for family in Family::ALL {
                let step = Step::through(Change::Flow, flows).from(from);
                let first = Conversation::new(family, Service::Unnamed, from);
                for frame in first.handshake() {
                    self.pass(Program::StepIngress, &stepping(frame, step), count)?;
                }
            }
        }
        let added = self.programs.tables().counter(Counter::FlowsCompleted)? - completed;
        let wanted = u64::from(flows - self.flows) * Family::ALL.len() as u64;
        ensure!(added == wanted, "{added} of {wanted} connections were established");
        self.flows = flows;
        Ok(())
    }

    /// Prepares `runs` runs of a subject, and returns the frame.
    pub(crate) fn set(&mut self, subject: Subject, family: Family, runs: u32) -> Result<Vec<u8>> {
        self.singles += 1;
        let known = self.singles.wrapping_mul(NEXT_FLOW) % self.flows.max(1);
        let fresh = |service| Conversation::new(family, service, 0);
        let flows = Step::through(Change::Flow, runs);
        let datagrams = Step::through(Change::Datagram, runs);
        let frame = match subject {
            Subject::Empty | Subject::Parse | Subject::Floor | Subject::Ack => {
                Conversation::new(family, Service::Unnamed, known).acknowledgment()
            }
            Subject::FloorScattered | Subject::AckScattered => {
                let frame = Conversation::new(family, Service::Unnamed, known).acknowledgment();
                stepping(frame, Step::scattered(self.flows).from(known))
            }
            Subject::Data => Conversation::new(family, Service::Unnamed, known).data(),
            Subject::DataUnbound => self.connection(family, Service::Unbound)?.data(),
            Subject::NotSyn => fresh(Service::Fresh).acknowledgment(),
            Subject::Denied => fresh(Service::Denied).syn(),
            Subject::Syn => stepping(fresh(Service::Fresh).syn(), flows),
            Subject::SynAck => {
                self.begin_connections(family, flows, runs)?;
                stepping(fresh(Service::Fresh).syn_ack(), flows)
            }
            Subject::Completion => {
                self.begin_connections(family, flows, runs)?;
                let answer = stepping(fresh(Service::Fresh).syn_ack(), flows);
                self.pass(Program::StepIngress, &answer, runs)?;
                stepping(fresh(Service::Fresh).acknowledgment(), flows)
            }
            Subject::Datagram => self.exchange(family)?.datagram(),
            Subject::NewDatagram => stepping(fresh(Service::FreshDatagrams).datagram(), flows),
            Subject::FirstFragment => {
                let [first, _] = self.exchange(family)?.fragments();
                stepping(first, datagrams)
            }
            Subject::LaterFragment => {
                let [first, later] = self.exchange(family)?.fragments();
                self.pass(Program::StepIngress, &stepping(first, datagrams), runs)?;
                stepping(later, datagrams)
            }
            Subject::MediaUnbound => self.stream(family, Service::MediaUnbound)?.before_media(),
            Subject::Media => self.stream(family, Service::Filtered)?.before_media(),
            Subject::Request => {
                let stream = self.stream(family, Service::Filtered)?;
                // The answers, one to each request to come: of those without one a filter bears 64.
                let replies = stepping(stream.before_replies(), Step::STREAM);
                self.pass(Program::StepIngress, &replies, runs)?;
                stream.before_requests()
            }
            Subject::Reply => self.stream(family, Service::Filtered)?.before_replies(),
        };
        Ok(if subject.is_stream() { stepping(frame, Step::STREAM) } else { frame })
    }

    /// Removes what `runs` runs of a subject left behind, so that the tables are as full as before.
    pub(crate) fn clear(&mut self, subject: Subject, family: Family, runs: u32) -> Result<()> {
        match subject {
            Subject::Completion => self.remove_completed(family, runs),
            Subject::Syn | Subject::SynAck | Subject::NewDatagram => self.clear_half_open(family),
            Subject::FirstFragment | Subject::LaterFragment => {
                clear::<FragmentKey, Datagram>(self.programs.tables().open("FRAGMENTS")?)
            }
            _ => Ok(()),
        }
    }

    fn clear_half_open(&self, family: Family) -> Result<()> {
        let tables = self.programs.tables();
        match family {
            Family::V4 => clear::<KeyV4, Flow>(tables.half_open_v4()?),
            Family::V6 => clear::<KeyV6, Flow>(tables.half_open_v6()?),
        }
    }

    fn remove_completed(&self, family: Family, count: u32) -> Result<()> {
        let tables = self.programs.tables();
        let mut flows_v4 = tables.flows_v4()?;
        let mut flows_v6 = tables.flows_v6()?;
        for number in 0..count {
            let flow = Conversation::new(family, Service::Fresh, number);
            match family {
                Family::V4 => flows_v4.remove(&flow.key_v4()),
                Family::V6 => flows_v6.remove(&flow.key_v6()),
            }
            .with_context(|| format!("flow {number} is not among the completed ones"))?;
        }
        Ok(())
    }

    /// `runs` connections begin, and wait for their answer.
    fn begin_connections(&mut self, family: Family, flows: Step, runs: u32) -> Result<()> {
        let syn = Conversation::new(family, Service::Fresh, 0).syn();
        self.pass(Program::StepIngress, &stepping(syn, flows), runs)
    }

    /// A connection for one figure.
    fn connection(&mut self, family: Family, service: Service) -> Result<Conversation> {
        let connection = Conversation::new(family, service, self.singles);
        for frame in connection.handshake() {
            self.pass(Program::Ingress, &frame, 1)?;
        }
        Ok(connection)
    }

    /// A connection for one figure, whose client asked for media.
    pub(crate) fn stream(&mut self, family: Family, service: Service) -> Result<Conversation> {
        let stream = self.connection(family, service)?;
        for frame in stream.asks_for_media() {
            self.pass(Program::Ingress, &frame, 1)?;
        }
        Ok(stream)
    }

    /// An exchange of datagrams for one figure.
    fn exchange(&mut self, family: Family) -> Result<Conversation> {
        let exchange = Conversation::new(family, Service::Datagrams, self.singles);
        for frame in [exchange.datagram(), exchange.answer()] {
            self.pass(Program::Ingress, &frame, 1)?;
        }
        Ok(exchange)
    }

    fn pass(&mut self, program: Program, frame: &[u8], runs: u32) -> Result<()> {
        self.programs.pass(Hook::Xdp, program, frame, runs).map(drop)
    }
}

/// Removes every entry of a table.
fn clear<K: Pod, V: Pod>(mut table: HashMap<aya::maps::MapData, K, V>) -> Result<()> {
    let keys: Vec<K> = table.keys().collect::<Result<_, _>>()?;
    keys.iter().try_for_each(|key| ignore_missing(table.remove(key)))
}
