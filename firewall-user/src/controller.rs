//! The controller: reads what the kernel reports, remembers it, serves it, and looks after the tables.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya_log::EbpfLogger;
use firewall_common::{
    event::EventKind,
    flow::Timeouts,
    number::{CONTROLLER_CPU, numbered},
    policy::Binding,
    reason::Reason,
};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    apply::confirm::{self, Guard},
    attach::Mode as AttachMode,
    binding::told_briefly,
    bring_up::{Wanted, bring_up},
    comings::{Comings, LinkChanges},
    event::{Event, Names, rfc3339},
    export::{Board, Exports, Failures},
    housekeeping::{Housekeeping, Notice},
    hub::Hub,
    instance::{ControllerLock, Instance, State, Written},
    link,
    losses::{Told, losses},
    metrics::{Parts, Source},
    ring::{Rings, Watch, monotonic_epoch_ns},
    say::say,
    store::Keeper,
    subscribe::{self, Access},
    sweep::Gone,
    tables::Tables,
};

/// How often bindings are compared with what they were, to tell of changes whoever made them.
const WATCH_PERIOD: Duration = Duration::from_millis(250);
/// How often interfaces are looked at that came or went, should the kernel's word of it be lost.
const INTERFACES_PERIOD: Duration = Duration::from_secs(5);
/// How long nobody is accepted where that has just failed.
const REFUSED_PERIOD: Duration = Duration::from_millis(2);
/// Runs the controller until SIGTERM or SIGINT. Enforcement goes on after it.
pub async fn run(instance: &Instance, wanted: &Wanted) -> Result<()> {
    let lock = match instance.lock()? {
        Ok(lock) => lock,
        Err(pid) => {
            let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            bail!(
                "a controller{who} runs already for the instance {:?}: use it, end it, or give this one \
                 another --instance",
                instance.name()
            );
        }
    };
    let fresh = !instance.is_up();
    match serve(instance, wanted, lock).await {
        Err(error) => {
            if fresh && !instance.is_up() {
                let _ = std::fs::remove_dir_all(instance.run_directory());
            }
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

async fn serve(instance: &Instance, wanted: &Wanted, _lock: ControllerLock) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut up = bring_up(instance, wanted).await?;
    let kernel_log = if wanted.log_kernel {
        Some(EbpfLogger::init(&mut up.ebpf).context("cannot read the kernel programs' log")?)
    } else {
        None
    };
    for interface in &up.state.interfaces {
        say(&format!(
            "{}: ingress {}, egress {} ({})",
            interface.name, interface.ingress, interface.egress, interface.why
        ));
    }
    let timeouts = up.state.timeouts();
    let programs = Programs { ebpf: up.ebpf, kernel_log, mode: wanted.mode };
    let mut controller = Controller::new(instance, up.state, timeouts, programs)?;
    let listener = subscribe::listen(instance)?;
    controller.follow_event_settings();
    controller.tell(if up.adopted {
        "controller started: adopted what was pinned, with its flows".to_owned()
    } else {
        "controller started: attached anew".to_owned()
    })?;
    controller.tell_awaited().await?;
    if let Some(unheard) = confirm::take_unheard(instance)? {
        controller.tell(unheard)?;
    }
    say(&format!(
        "instance {} runs; Ctrl-C ends the controller, not the firewall",
        instance.name()
    ));

    let ended = tokio::select! {
        result = controller.work(listener) => result,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    controller.finish().await;
    ended?;
    say(&format!(
        "the controller ends; the firewall goes on. `fwx --instance {} down` takes it down",
        instance.name()
    ));
    Ok(())
}

struct Controller {
    instance: Instance,
    /// Which writing of the state is known.
    written: Option<Written>,
    tables: Tables,
    rings: Rings,
    losses: Told,
    names: Names,
    state: State,
    hub: Arc<Mutex<Hub>>,
    keeper: Keeper,
    bindings: Vec<Binding>,
    /// The programs that are attached, for interfaces that come.
    ebpf: Ebpf,
    comings: Comings,
    guard: Guard,
    access: Access,
    last_own_event: u64,
    housekeeping: Housekeeping,
    metrics: Source,
    exports: Exports,
    board: Arc<Board>,
    failures: Failures,
    kernel_log: Option<KernelLog>,
}

/// What was loaded, and how it is attached.
struct Programs {
    ebpf: Ebpf,
    kernel_log: Option<KernelLog>,
    mode: AttachMode,
}

/// What the kernel programs log, on its way to this process's own log.
type KernelLog = EbpfLogger<&'static dyn log::Log>;

impl Controller {
    fn new(
        instance: &Instance,
        state: State,
        timeouts: Timeouts,
        Programs { ebpf, kernel_log, mode }: Programs,
    ) -> Result<Self> {
        let tables = Tables::pinned(&instance.maps());
        let rings = Rings::open(&tables)?;
        let losses = Told::up_to_now(&tables)?;
        let names = Names::of(instance, &state);
        let housekeeping = Housekeeping::new(instance, &state, timeouts)?;
        let hub = Arc::default();
        let board = Arc::<Board>::default();
        let metrics = Source::new(Parts {
            instance: instance.clone(),
            census: housekeeping.census(),
            hub: Arc::clone(&hub),
            exports: Arc::clone(&board),
        });
        let name = instance.name().to_owned();
        let exports = Exports::new(name, Arc::clone(&hub), metrics.clone(), Arc::clone(&board));
        let mut controller = Self {
            instance: instance.clone(),
            written: instance.written(),
            tables,
            rings,
            losses,
            names,
            state,
            hub,
            keeper: Keeper::default(),
            bindings: Vec::new(),
            ebpf,
            comings: Comings::new(mode),
            guard: Guard::default(),
            access: Access::default(),
            last_own_event: 0,
            housekeeping,
            metrics,
            exports,
            board,
            failures: Failures::default(),
            kernel_log,
        };
        controller.bindings = controller.read_bindings()?;
        controller.exports.set(&controller.state.exports)?;
        Ok(controller)
    }

    /// Goes on until something fails that cannot be worked around.
    async fn work(&mut self, listener: UnixListener) -> Result<()> {
        let mut watch = Watch::new(&self.rings)?;
        let mut links = LinkChanges::listen()?;
        let mut look = interval(WATCH_PERIOD);
        let mut clean = interval(INTERFACES_PERIOD);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clean.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                due = watch.due(&self.rings) => {
                    due?;
                    self.publish_settled()?;
                }
                accepted = listener.accept() => {
                    match accepted {
                        Ok((stream, _)) => {
                            let hub = Arc::clone(&self.hub);
                            let board = Arc::clone(&self.board);
                            let serving = subscribe::serve(stream, hub, board);
                            tokio::spawn(async move {
                                if let Err(error) = serving.await {
                                    tracing::debug!("a subscriber left: {error:#}");
                                }
                            });
                        }
                        // Too many files are open, say. The others are served, and the firewall goes on.
                        Err(error) => {
                            tracing::warn!("cannot accept a subscriber: {error}");
                            sleep(REFUSED_PERIOD).await;
                        }
                    }
                }
                _ = look.tick() => {
                    if let Some(log) = &mut self.kernel_log {
                        log.flush();
                    }
                    // A look that fails (too many files are open, say) is made again in a moment.
                    if let Err(error) = self.look_at_state() {
                        tracing::warn!("cannot look at the instance's state: {error:#}");
                    }
                    if let Err(error) = self.look_at_bindings() {
                        tracing::warn!("cannot look at the bindings: {error:#}");
                    }
                    if let Err(error) = self.guard.look(&self.instance).await {
                        tracing::warn!("cannot go back to the policy before: {error:#}");
                    }
                    // The firewall goes on, and nobody reads who may not.
                    if let Err(error) = self.access.look(&self.instance).await {
                        self.tell(format!("{error:#}"))?;
                    }
                    let notices = self.housekeeping.look();
                    self.take_notice(notices)?;
                    self.tell_losses()?;
                    let news = self.failures.news(&self.board.read(), Instant::now());
                    news.into_iter().try_for_each(|news| self.tell(news))?;
                    self.keeper.notice().map_or(Ok(()), |notice| self.tell(notice))?;
                    if self.comings.is_put_off() {
                        self.look_at_interfaces().await?;
                    }
                }
                report = self.housekeeping.swept() => {
                    let notices = self.housekeeping.take_in(report);
                    self.take_notice(notices)?;
                }
                () = links.next() => self.look_at_interfaces().await?,
                _ = clean.tick() => self.look_at_interfaces().await?,
            }
        }
    }

    fn publish_settled(&mut self) -> Result<()> {
        let epoch = monotonic_epoch_ns();
        let settled = self.rings.look();
        // What the numbers of a new policy are called is written down before the first packet has one.
        if let Err(error) = self.look_at_state() {
            tracing::warn!("cannot look at the instance's state: {error:#}");
        }
        for caught in settled {
            match Event::of(&caught, &self.names, epoch) {
                Ok(event) => self.publish(event)?,
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(())
    }

    /// Tells of events that were lost since the last time, and of what was none.
    fn tell_losses(&mut self) -> Result<()> {
        let malformed = self.rings.take_malformed();
        if malformed > 0 {
            self.tell(format!("{malformed} samples of the rings were no records"))?;
        }
        match losses(&self.tables) {
            Ok(now) => self.losses.news(now).into_iter().try_for_each(|news| self.tell(news)),
            // A look that fails is made again in a moment.
            Err(error) => {
                tracing::warn!("cannot look at what was lost: {error:#}");
                Ok(())
            }
        }
    }

    /// Takes over what was written down about the instance since the last look: another policy, say.
    fn look_at_state(&mut self) -> Result<()> {
        let written = self.instance.written();
        if written == self.written {
            return Ok(());
        }
        let Some(state) = self.instance.state()? else { return Ok(()) };
        self.written = written;
        self.names = Names::of(&self.instance, &state);
        let before = std::mem::replace(&mut self.state, state);
        if before.policy_digest != self.state.policy_digest {
            self.housekeeping.take_policy(self.state.timeouts(), self.state.shortcut);
            self.metrics.policy_changed();
            let file = self.state.policy_file.as_ref().map(|file| file.display().to_string());
            self.tell(format!(
                "the policy {} is in force, {} rules",
                file.as_deref().unwrap_or("built in"),
                self.state.rules_in_force.len()
            ))?;
        }
        if before.events != self.state.events {
            self.follow_event_settings();
        }
        if before.exports != self.state.exports {
            self.exports.set(&self.state.exports)?;
            let names: Vec<_> = self.state.exports.iter().map(|it| it.name.as_str()).collect();
            self.tell(match names.as_slice() {
                [] => "no export is in force: events and metrics go to nobody any more".to_owned(),
                names => format!(
                    "exports in force: {}; fwx status says whether each can send",
                    names.join(", ")
                ),
            })?;
        }
        if before.shadow != self.state.shadow {
            self.tell(match &self.state.shadow {
                Some(shadow) => format!(
                    "the policy {} is compared with the one in force, {} rules",
                    shadow.policy_file.display(),
                    shadow.rules.len()
                ),
                None => "no policy is compared with the one in force".to_owned(),
            })?;
        }
        Ok(())
    }

    /// Lets those read events, and keeps those, that the policy says.
    fn follow_event_settings(&mut self) {
        self.keeper.follow(&self.instance, &self.state.events, &self.hub);
        self.access.follow(&self.instance, &self.state.events);
    }

    /// Takes out what is in the rings, and lets readers have what was published, and the disk too.
    async fn finish(&mut self) {
        let reports = self.housekeeping.end().await;
        let epoch = monotonic_epoch_ns();
        for caught in self.rings.close() {
            if let Ok(event) = Event::of(&caught, &self.names, epoch)
                && let Err(error) = self.publish(event)
            {
                tracing::warn!("{error:#}");
            }
        }
        for report in reports {
            let notices = self.housekeeping.take_in(report);
            if let Err(error) = self.take_notice(notices) {
                tracing::warn!("{error:#}");
            }
        }
        if let Err(error) = self.tell_losses() {
            tracing::warn!("{error:#}");
        }
        if let Ok(hub) = self.hub.lock() {
            hub.close();
        }
        self.keeper.finish().await;
        self.exports.end().await;
    }

    /// Tells of every binding that is not what it was.
    fn look_at_bindings(&mut self) -> Result<()> {
        let now = self.read_bindings()?;
        let before = std::mem::replace(&mut self.bindings, now.clone());
        for ((before, now), protocol) in before.iter().zip(&now).zip(self.state.protocols.clone()) {
            if before != now {
                self.tell(format!(
                    "filter of protocol {}: {} (was {})",
                    protocol.name,
                    told_briefly(now),
                    told_briefly(before)
                ))?;
            }
        }
        Ok(())
    }

    /// Attaches to interfaces that came, and tells of those and of others that went away.
    async fn look_at_interfaces(&mut self) -> Result<()> {
        let looked = self.comings.look(&self.instance, &mut self.ebpf, &self.state).await;
        // A look that fails is made again in a moment.
        let change = match looked {
            Ok(change) => change,
            Err(error) => {
                tracing::warn!("cannot look at the interfaces: {error:#}");
                return Ok(());
            }
        };
        let Some(change) = change else { return Ok(()) };
        self.housekeeping.take_interfaces(&change.state.interfaces);
        if let Err(error) = self.look_at_state() {
            tracing::warn!("cannot look at the instance's state: {error:#}");
        }
        change.told.into_iter().try_for_each(|message| self.tell(message))
    }

    /// Tells which interfaces are not there, and which are, so that a slip is seen.
    async fn tell_awaited(&mut self) -> Result<()> {
        let awaited: Vec<_> = self.state.awaited().map(String::as_str).collect();
        if awaited.is_empty() {
            return Ok(());
        }
        let message = format!(
            "not there, and attached when they come: {}; there are: {}",
            awaited.join(", "),
            link::names(&link::all().await?)
        );
        self.tell(message)
    }

    fn read_bindings(&self) -> Result<Vec<Binding>> {
        (1..=self.state.protocols.len())
            .map(|number| self.tables.binding(u16::try_from(number)?))
            .collect()
    }

    /// Publishes what housekeeping noticed.
    fn take_notice(&mut self, notices: Vec<Notice>) -> Result<()> {
        notices.into_iter().try_for_each(|notice| match notice {
            Notice::Control(reason, message) => self.tell_with(reason, message),
            Notice::Gone(gone) => self.tell_end(&gone),
        })
    }

    /// Publishes that a flow ended in silence.
    fn tell_end(&mut self, gone: &Gone) -> Result<()> {
        let now = now_ns();
        let kind = EventKind::ConnectionClosed;
        let event = Event::of_flow(kind, gone.reason, &gone.entry, &self.names);
        let event_id = self.next_number(now);
        let suppressed = Some(gone.suppressed);
        self.publish(Event { event_id, timestamp: rfc3339(now), suppressed, ..event })
    }

    /// Publishes something that the controller noticed, and says it.
    fn tell(&mut self, message: String) -> Result<()> {
        self.tell_with(Reason::None, message)
    }

    fn tell_with(&mut self, reason: Reason, message: String) -> Result<()> {
        say(&format!("{}: {message}", self.instance.name()));
        let now = now_ns();
        let number = self.next_number(now);
        let instance = Some(self.instance.name().to_owned());
        self.publish(Event::control(number, instance, now, reason, message))
    }

    fn next_number(&mut self, now: i128) -> u64 {
        // Milliseconds, so that the numbers of one controller are not those of the one before it.
        let milliseconds = u64::try_from(now / 1_000_000).unwrap_or(0);
        self.last_own_event = milliseconds.max(self.last_own_event + 1);
        numbered(self.last_own_event, CONTROLLER_CPU)
    }

    fn publish(&self, event: Event) -> Result<()> {
        match self.hub.lock() {
            Ok(mut hub) => hub.publish(event),
            Err(_) => bail!("a subscriber's task failed while it held the events"),
        }
    }
}

/// Nanoseconds since 1970.
fn now_ns() -> i128 {
    time::OffsetDateTime::now_utc().unix_timestamp_nanos()
}
