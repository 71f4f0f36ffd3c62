//! The loop between the terminal and the state of the screen.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use nix::sys::signal::{Signal, raise};
use ratatui::DefaultTerminal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{self, Receiver, Sender},
    time::{MissedTickBehavior, interval},
};

use super::{
    Wanted, filter_line, keys,
    listen::Listening,
    look::Looks,
    model::{Effect, Model},
    screen::{self, Theme},
};
use crate::{bad_input, instance::Instance, status};

/// Between two pictures at least, unless a key asks for one.
const PICTURE_PERIOD: Duration = Duration::from_millis(100);
/// Outcomes of changes that may wait for the screen.
const OUTCOMES: usize = 8;

/// Shows the screen until it is quit.
///
/// # Errors
///
/// There is no terminal, or it went away; the instance is not up; the filter line is none: bad input.
pub async fn run(instance: &Instance, wanted: &Wanted) -> Result<()> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        bad_input!(
            "fwx top needs a terminal; `fwx top --once` prints one picture, and `fwx top -o json` what is in it"
        );
    }
    let criteria = filter_line::parse(&wanted.line, now())?;
    status::open(instance)?;
    let mut top = Top {
        instance: instance.clone(),
        model: Model::new(wanted.order, wanted.line.clone()),
        looks: Looks::begin(instance, wanted.period, wanted.order)?,
        listening: Listening::begin(instance, criteria),
        outcomes: mpsc::channel(OUTCOMES),
        theme: Theme::of_environment(),
        terminal: ratatui::try_init().context("cannot take the terminal over")?,
    };
    let result = top.go_on().await;
    // What went wrong is to be read where the shell goes on.
    ratatui::restore();
    result
}

struct Top {
    instance: Instance,
    model: Model,
    looks: Looks,
    listening: Listening,
    /// What became of changes.
    outcomes: (Sender<Outcome>, Receiver<Outcome>),
    theme: Theme,
    terminal: DefaultTerminal,
}

type Outcome = Result<String, String>;

impl Top {
    async fn go_on(&mut self) -> Result<()> {
        let mut ends =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let [Ok(terminate), Ok(interrupt), Ok(hangup)] = &mut ends else {
            bail!("cannot wait for signals")
        };
        let mut stop = signal(SignalKind::from_raw(Signal::SIGTSTP as i32))?;
        let mut keys = EventStream::new();
        let mut picture = interval(PICTURE_PERIOD);
        picture.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stale = true;
        loop {
            tokio::select! {
                event = keys.next() => {
                    let event = event.context("the terminal went away")?;
                    if !self.take(&event.context("the terminal went away")?)? {
                        return Ok(());
                    }
                    self.draw()?;
                    stale = false;
                }
                Some(look) = self.looks.next() => {
                    self.model.take_look(look);
                    stale = true;
                }
                heard = self.listening.next() => {
                    self.model.take_heard(heard.context("the task that reads events failed")?);
                    stale = true;
                }
                Some(outcome) = self.outcomes.1.recv() => {
                    self.model.take_outcome(outcome);
                    stale = true;
                }
                _ = picture.tick() => {
                    if std::mem::take(&mut stale) {
                        self.draw()?;
                    }
                    if self.looks.have_failed() {
                        bail!("a thread that reads the kernel's tables failed");
                    }
                }
                _ = stop.recv() => self.suspend()?,
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
            }
        }
    }

    /// Whether it goes on.
    fn take(&mut self, event: &Event) -> Result<bool> {
        let Event::Key(key) = event else { return Ok(true) };
        let Some(action) = keys::action(*key, &self.model.mode) else { return Ok(true) };
        match self.model.act(action, now()) {
            None => {}
            Some(Effect::Quit) => return Ok(false),
            Some(Effect::Suspend) => self.suspend()?,
            Some(Effect::Redraw) => self.terminal.clear()?,
            Some(Effect::Order(order)) => self.looks.set_order(order),
            Some(Effect::Subscribe(criteria)) => {
                self.listening = Listening::begin(&self.instance, *criteria);
            }
            // It may wait for somebody who changes the instance: not here.
            Some(Effect::Change(change)) => {
                let (instance, outcomes) = (self.instance.clone(), self.outcomes.0.clone());
                tokio::task::spawn_blocking(move || {
                    let outcome = change.apply(&instance).map_err(|error| format!("{error:#}"));
                    // Nobody waits for it any more: it is done all the same.
                    let _ = outcomes.blocking_send(outcome);
                });
            }
        }
        Ok(true)
    }

    fn draw(&mut self) -> Result<()> {
        let (model, theme) = (&self.model, self.theme);
        self.terminal
            .draw(|frame| screen::draw(frame, model, theme))
            .context("the terminal went away")?;
        Ok(())
    }

    /// Gives the terminal back until the shell lets this process go on.
    fn suspend(&mut self) -> Result<()> {
        ratatui::try_restore()?;
        raise(Signal::SIGSTOP)?;
        self.terminal = ratatui::try_init().context("cannot take the terminal over")?;
        self.terminal.clear()?;
        self.draw()
    }
}

/// Nanoseconds since 1970.
fn now() -> i128 {
    time::OffsetDateTime::now_utc().unix_timestamp_nanos()
}
