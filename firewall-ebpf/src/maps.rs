//! The tables that the programs share with each other and with user space.
//!
//! Sizes here are the least that makes sense; the loader sets the real ones. What happens when a table is
//! full stands at each.

use aya_ebpf::{
    btf_maps::{
        Array, ArrayOfMaps, DevMapHash, HashMap, LruHashMap, PerCpuArray, PerfEventByteArray,
        ProgramArray,
    },
    macros::btf_map,
};
use firewall_common::{
    classifier::LineWords,
    cookie::Secret,
    crossing::Crossing,
    datagram::Datagram,
    event::{Bucket, FINDING_BUCKETS_MAX, Untold},
    filter::{
        connection::Connection,
        pinhole::{Family, Pinhole, PinholeKey, Session},
    },
    flow::{Flow, FragmentKey, KeyV4, KeyV6, Timeouts},
    layout::{
        Attack, CONNECTIONS_MAX, CROSSINGS_MAX, Counter, FILTERS_MAX, FilterCounters,
        INTERFACES_MAX, OwnAddresses, PINHOLES_MAX, Port, ReplayInput, ReplayOutput, SESSIONS_MAX,
        SourceLimits,
    },
    policy::{Binding, InForce, PROTOCOLS_MAX, RULE_NUMBERS, SLOTS},
    reason::Reason,
    shadow::{Difference, FLOWS_MAX, IMAGES_MAX, PAIRS_MAX, Pair, Sightings, Totals},
    shortcut::LongWay,
    tally::RuleCounters,
};

use crate::work::Work;

/// Elements are allocated as they are needed.
const NO_PREALLOC: usize = aya_ebpf::bindings::BPF_F_NO_PREALLOC as usize;
/// User space may have the entries in its memory.
const SHARED: usize = aya_ebpf::bindings::BPF_F_MMAPABLE as usize;
/// Maps of this kind may differ in size and yet take each other's place.
const INNER_MAP: usize = aya_ebpf::bindings::BPF_F_INNER_MAP as usize;

/// A policy as [`firewall_common::classifier`] reads it: the words of its lines. User space makes each as large as it
/// has to be. The value is no structure, and must not be: for Linux 6.1 a map whose BTF shows a structure without a
/// timer, and one that has no BTF, as user space makes them, differ in where their timers are (`btf_find_timer`).
pub type Image = Array<LineWords, 1, INNER_MAP>;

/// Flows with an answer. Never evicts: when it is full, a new flow is refused with
/// [`Reason::OutOfResources`].
#[btf_map]
pub static FLOWS_V4: HashMap<KeyV4, Flow, 1024> = HashMap::new();
/// As [`FLOWS_V4`].
#[btf_map]
pub static FLOWS_V6: HashMap<KeyV6, Flow, 1024> = HashMap::new();
/// Flows without an answer yet. When it is full the one longest unused makes room, so that a flood only
/// churns itself.
#[btf_map]
pub static HALF_OPEN_V4: LruHashMap<KeyV4, Flow, 1024> = LruHashMap::new();
/// As [`HALF_OPEN_V4`].
#[btf_map]
pub static HALF_OPEN_V6: LruHashMap<KeyV6, Flow, 1024> = LruHashMap::new();
/// How long a flow may be silent. The controller shortens them as the tables fill.
#[btf_map]
pub static TIMEOUTS: Array<Timeouts, 1> = Array::new();
/// Datagrams of which fragments came by. When it is full the one longest unused makes room; its later
/// fragments are then refused.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Datagram, 4096> = LruHashMap::new();
/// Hosts between which a first fragment passed, and when. When it is full the pair longest unused makes room;
/// a fragment that comes before its datagram's first is then refused.
#[btf_map]
pub static FRAGMENTING_PAIRS: LruHashMap<FragmentKey, u64, 4096> = LruHashMap::new();
/// Packets on their way through the machine, each at the place that its fingerprint says. One that another
/// takes the place of goes on, and where its addresses are translated its flow's answer finds no flow; the
/// packet that is repeated then gets another try.
#[btf_map]
pub static CROSSINGS: Array<Crossing, { CROSSINGS_MAX as usize }> = Array::new();
/// The tag of what was noted last in each place of [`CROSSINGS`], of which all together are 32 KiB.
#[btf_map]
pub static CROSSING_TAGS: Array<u32, { CROSSINGS_MAX as usize }> = Array::new();
/// New flows of each source lately, where the policy limits them. When it is full the source longest unused
/// makes room and begins anew.
#[btf_map]
pub static SOURCES: LruHashMap<[u32; 4], SourceLimits, 65_536> = LruHashMap::new();
/// New flows by each rule lately, where it limits them, by the rule's number; 0 is not used.
#[btf_map]
pub static RULE_LIMITS: Array<SourceLimits, RULE_NUMBERS> = Array::new();
/// What each rule let in and refused, by its number, as far as flows do not count it; 0: the default. User space adds,
/// too, where it takes flows from one table to another: it has the entries in its memory.
#[btf_map]
pub static RULE_COUNTERS: Array<RuleCounters, RULE_NUMBERS, SHARED> = Array::new();
/// Flows without an answer, of all sources.
#[btf_map]
pub static ATTACK: Array<Attack, 1> = Array::new();
/// Those of this CPU that [`ATTACK`] has not been told of.
#[btf_map]
pub static UNANSWERED: PerCpuArray<i64, 1> = PerCpuArray::new();
/// Sources that answered a challenge, and when. When it is full the one longest unused makes room, and is
/// challenged again.
#[btf_map]
pub static AUTHENTICATED: LruHashMap<[u32; 4], u64, 65_536> = LruHashMap::new();
/// The ICMP errors by which rejects were answered lately: a [`firewall_common::limit::Bucket`].
#[btf_map]
pub static REJECTS: Array<u64, 1> = Array::new();
/// What challenges are made with.
#[btf_map]
pub static SECRET: Array<Secret, 1> = Array::new();
/// What filters know of the connections that they read, by flow number. When it is full, an enforcing filter
/// refuses the segment with [`Reason::OutOfResources`].
#[btf_map]
pub static CONNECTIONS: HashMap<u64, Connection, CONNECTIONS_MAX, NO_PREALLOC> = HashMap::new();
/// Where a new entry of [`CONNECTIONS`] is laid out: it is too big for the stack.
#[btf_map]
pub static NEW_CONNECTION: PerCpuArray<Connection, 1> = PerCpuArray::new();
/// Flows that connections announced. When it is full, no more are opened, and that is told.
#[btf_map]
pub static PINHOLES: HashMap<PinholeKey, Pinhole, PINHOLES_MAX, NO_PREALLOC> = HashMap::new();
/// What they belong to. When it is full, no more pinholes are opened, and that is told.
#[btf_map]
pub static SESSIONS: HashMap<u64, Session, SESSIONS_MAX, NO_PREALLOC> = HashMap::new();
/// The sessions of each connection, by flow number. As [`SESSIONS`].
#[btf_map]
pub static FAMILIES: HashMap<u64, Family, CONNECTIONS_MAX, NO_PREALLOC> = HashMap::new();
/// 1 once a pinhole was opened.
#[btf_map]
pub static PINHOLES_USED: Array<u32, 1> = Array::new();

/// Which policy is in force.
#[btf_map]
pub static POLICY: Array<InForce, 1> = Array::new();
/// The images of policies, by slot, and behind them that of the policy on trial.
#[btf_map]
pub static IMAGES: ArrayOfMaps<Image, IMAGES_MAX> = ArrayOfMaps::new();
/// How often the policies in force and on trial said what they say. When it is full, that is counted in
/// [`SHADOW_TOTALS`].
#[btf_map]
pub static SHADOW_PAIRS: HashMap<Pair, u64, PAIRS_MAX, NO_PREALLOC> = HashMap::new();
/// The flows that they judge differently. When it is full the one longest unseen makes room.
#[btf_map]
pub static SHADOW_FLOWS: LruHashMap<Difference, Sightings, FLOWS_MAX> = LruHashMap::new();
/// How often both were asked.
#[btf_map]
pub static SHADOW_TOTALS: PerCpuArray<Totals, 1> = PerCpuArray::new();
/// The filter that is bound to each protocol, slot by slot.
#[btf_map]
pub static BINDINGS: Array<Binding, { SLOTS * PROTOCOLS_MAX }> = Array::new();
/// The commands that a policy allows, by filter, slot by slot: see
/// [`firewall_common::filter::FilterInfo::commands`].
#[btf_map]
pub static FILTER_COMMANDS: Array<u64, { SLOTS * FILTERS_MAX }> = Array::new();
/// The filters for XDP, by number.
#[btf_map]
pub static FILTERS_XDP: ProgramArray<FILTERS_MAX> = ProgramArray::new();
/// The filters for traffic control, by number.
#[btf_map]
pub static FILTERS_TC: ProgramArray<FILTERS_MAX> = ProgramArray::new();
/// Interfaces that have an ingress hook: what came in there was judged there.
#[btf_map]
pub static INTERFACES: HashMap<u32, Port, INTERFACES_MAX> = HashMap::new();
/// By which addresses they are answered from.
#[btf_map]
pub static OWN_ADDRESSES: HashMap<u32, OwnAddresses, INTERFACES_MAX> = HashMap::new();
/// Those of them that send redirected frames, each under its own index.
#[btf_map]
pub static DEVICES: DevMapHash<INTERFACES_MAX> = DevMapHash::new();

/// What may take the shortcut past the kernel's stack: bit set of [`firewall_common::shortcut::FOR_UDP`] and
/// [`firewall_common::shortcut::FOR_TCP`]. It is no part of the policy's image nor of what is in force with it: what
/// can be had of the policy's wish changes at any time.
#[btf_map]
pub static SHORTCUT: Array<u32, 1> = Array::new();
/// Packets of proven flows that went the long way, by [`LongWay`].
#[btf_map]
pub static LONG_WAYS: PerCpuArray<u64, { LongWay::COUNT }> = PerCpuArray::new();
/// Packets refused, and events, by reason.
#[btf_map]
pub static REASONS: PerCpuArray<u64, { Reason::COUNT }> = PerCpuArray::new();
/// Everything else that is counted, by [`Counter`].
#[btf_map]
pub static COUNTERS: PerCpuArray<[u64; Counter::COUNT], 1> = PerCpuArray::new();
/// What filters did, by protocol.
#[btf_map]
pub static FILTER_COUNTERS: PerCpuArray<FilterCounters, PROTOCOLS_MAX> = PerCpuArray::new();
/// Rate limits of events, by reason.
#[btf_map]
pub static BUCKETS: PerCpuArray<Bucket, { Reason::COUNT }> = PerCpuArray::new();
/// Rate limits of findings, by [`firewall_common::event::finding_bucket`].
#[btf_map]
pub static FINDING_BUCKETS: PerCpuArray<Bucket, FINDING_BUCKETS_MAX> = PerCpuArray::new();
/// Events that nobody got to read, by [`firewall_common::event::Ring::untold_index`].
#[btf_map]
pub static UNTOLD: PerCpuArray<Untold, { Untold::COUNT }> = PerCpuArray::new();
/// Last number given to a flow and to an event on this CPU.
#[btf_map]
pub static NUMBERS: PerCpuArray<u64, 2> = PerCpuArray::new();
/// The ring of each CPU for kills, which nothing else can fill. What finds no room is counted in [`UNTOLD`].
#[btf_map]
pub static KILLS: PerfEventByteArray = PerfEventByteArray::new();
/// The ring of each CPU for all other events. As [`KILLS`].
#[btf_map]
pub static EVENTS: PerfEventByteArray = PerfEventByteArray::new();

/// What one packet is worked on with; also how a program hands it to a filter.
#[btf_map]
pub static WORK: PerCpuArray<Work, 1> = PerCpuArray::new();

/// Replay only: the packet's time and interface.
#[btf_map]
pub static REPLAY_INPUT: Array<ReplayInput, 1> = Array::new();
/// Replay only: what was decided.
#[btf_map]
pub static REPLAY_OUTPUT: Array<ReplayOutput, 1> = Array::new();
