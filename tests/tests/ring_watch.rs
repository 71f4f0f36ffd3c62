//! Whoever waits for the event rings is told of each record: those too that came just before the waiting began.

use std::time::Duration;

use aya::{
    Ebpf,
    programs::{Program, TestRun as _, TestRunOptions},
};
use firewall_common::reason::Reason;
use firewall_user::{
    generation::Over,
    losses,
    object::{self, Purpose, TC_INGRESS},
    policy::{Policy, TableSizes},
    ring::{Rings, Watch},
    tables::Tables,
};
use lab::{
    Packet,
    replaying::{Family, RTSP_PORT, rtsp_policy},
};
use tokio::time::timeout;

/// How long a record may stay untold. It takes some milliseconds; without it the test would wait forever.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_record_that_was_there_before_the_waiting_began_is_told() {
    let rig = Rig::new();
    let mut rings = Rings::open(&rig.tables).unwrap();
    rig.drop_one();
    let mut watch = Watch::new(&rings).unwrap();
    assert_eq!(
        told(&mut watch, &mut rings).await,
        Reason::TcpNotSyn as u8,
        "before the first wait"
    );
    for round in 0..20 {
        // The look that finds nothing, and what comes right behind it.
        while rings.has_unsettled() || !rings.is_calm() {
            rings.look();
        }
        rig.drop_one();
        assert_eq!(told(&mut watch, &mut rings).await, Reason::TcpNotSyn as u8, "round {round}");
        // Now and then it has waited for long.
        if round % 2 == 0 {
            timeout(Duration::from_millis(30), watch.due(&rings)).await.ok();
        }
    }
}

#[test]
fn what_comes_while_the_rings_are_closed_is_counted_as_lost() {
    let rig = Rig::new();
    let mut rings = Rings::open(&rig.tables).unwrap();
    let lost = || losses::total(&losses::losses(&rig.tables).unwrap()).lost;
    rig.drop_one();
    assert_eq!(lost(), 0);
    rings.stop().unwrap();
    rig.drop_one();
    assert_eq!(lost(), 1);
    assert_eq!(rings.close().len(), 1, "what was told before is there");
    assert_eq!(lost(), 1);
}

/// The reason of the next event, as the controller comes to it.
async fn told(watch: &mut Watch, rings: &mut Rings) -> u8 {
    let told = async {
        loop {
            watch.due(rings).await.unwrap();
            if let [caught, ..] = rings.look().as_slice() {
                return caught.record.reason;
            }
        }
    };
    timeout(PATIENCE, told).await.expect("the record lies in its ring, and nobody is told")
}

struct Rig {
    ebpf: Ebpf,
    tables: Tables,
}

impl Rig {
    fn new() -> Self {
        let sizes = TableSizes { completed: 1_024, half_open: 1_024 };
        let ebpf = object::load(Purpose::Bench, sizes).unwrap();
        let tables = Tables::of_loaded(&ebpf).unwrap();
        let policy = Policy::parse("test.toml", &rtsp_policy("enforce", "strict")).unwrap();
        tables.write_policy(&policy.compile(), Over::Nothing).unwrap();
        Self { ebpf, tables }
    }

    /// Gives the programs a segment of no connection.
    fn drop_one(&self) {
        let packet: Packet = Family::V4.tcp(1_024, RTSP_PORT).flags("A").seq(1).ack(1);
        let frame = packet.build();
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        let Program::SchedClassifier(program) = self.ebpf.program(TC_INGRESS).unwrap() else {
            panic!("ingress of traffic control is a classifier");
        };
        program.test_run(options).unwrap();
    }
}
