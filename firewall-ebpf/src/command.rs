//! What user space wants done to one flow, done here, where nothing comes between a look and a change.

use firewall_common::{
    flow::{Alias, Flow, State},
    layout::{Command, CommandResult, Order},
    tally::Counted,
    wire::Bytes as _,
};

use crate::{
    atomic, filter,
    frame::TcFrame,
    maps::TIMEOUTS,
    pinholes, report,
    tables::{self, Key},
    tally,
};

/// How often a change is tried again where a packet changed the flow's state in the same moment.
const ATTEMPTS: u32 = 4;

/// Executes the command that is the frame. Returns an [`CommandResult`].
#[inline(always)]
pub fn execute(frame: &TcFrame) -> i32 {
    answer(frame) as i32
}

#[inline(always)]
fn answer(frame: &TcFrame) -> CommandResult {
    let Some(bytes) = frame.read::<[u8; Command::FRAME_LEN]>(0) else {
        return CommandResult::NotDone;
    };
    let command: Command = bytemuck::cast(bytes);
    if command.order == Order::Forget as u32 {
        filter::forget(command.id, command.now, 0);
        return CommandResult::Done;
    }
    let key = Key { version: command.version as u8, v4: &command.key_v4, v6: &command.key_v6 };
    let Some(flow) = tables::entry(&key).filter(|flow| flow.id == command.id) else {
        return CommandResult::NotDone;
    };
    if command.order == Order::TellAndKill as u32 || command.order == Order::KillAnyway as u32 {
        return tell_and_kill(frame, &key, flow, &command);
    }
    let done = if command.order == Order::Expire as u32 {
        expire(&key, flow, command.now)
    } else if command.order == Order::Remove as u32 {
        remove(&key, flow, command.now);
        true
    } else if command.order == Order::KillChild as u32 {
        kill_child(flow, &command)
    } else if command.order == Order::Reassign as u32 {
        reassign(flow, &command)
    } else {
        false
    };
    if done { CommandResult::Done } else { CommandResult::NotDone }
}

#[inline(always)]
fn expire(key: &Key<'_>, flow: &Flow, now: u64) -> bool {
    let expired = match Alias::of(flow) {
        // It is as old as its flow.
        Some(alias) => !leads_to_a_flow(key.version, alias),
        None => {
            TIMEOUTS.get(0).is_some_and(|timeouts| flow.expired(now, timeouts))
                || pinholes::is_left_behind(flow, now)
        }
    };
    if expired {
        remove(key, flow, now);
    }
    expired
}

#[inline(always)]
fn leads_to_a_flow(version: u8, alias: &Alias) -> bool {
    let target = Key { version, v4: &alias.target_v4, v6: &alias.target_v6 };
    tables::entry(&target).is_some_and(|flow| flow.id == alias.id)
}

#[inline(always)]
fn remove(key: &Key<'_>, flow: &Flow, now: u64) {
    if Alias::of(flow).is_some() {
        return tables::remove(key, None);
    }
    filter::forget(flow.id, now, 0);
    tables::remove(key, Some(Counted::by(flow)));
}

#[inline(always)]
fn kill_child(flow: &mut Flow, command: &Command) -> bool {
    if matches!(flow.state(), State::Killed | State::Alias) {
        return false;
    }
    atomic::entomb(flow, command.event, command.now);
    filter::forget(flow.id, command.now, command.event);
    true
}

/// Tells first and marks then, whatever another CPU does to the flow in the same moment: no drop that the kill causes can
/// be told before it.
#[inline(always)]
fn tell_and_kill(
    frame: &TcFrame,
    key: &Key<'_>,
    flow: &mut Flow,
    command: &Command,
) -> CommandResult {
    if matches!(flow.state(), State::Killed | State::Alias) {
        return CommandResult::NotDone;
    }
    let patient = command.order == Order::TellAndKill as u32;
    let answer = report::killed_by_command(frame, key, flow, command, patient);
    if answer == CommandResult::NoRoom {
        return answer;
    }
    // Meanwhile another CPU may have removed it, and another flow may lie where it lay.
    if flow.id == command.id {
        atomic::entomb(flow, command.event, command.now);
    }
    filter::forget(command.id, command.now, command.event);
    answer
}

/// What a filter knew of the flow stays: another one that reads it from here on begins in its midst, as it does when
/// another is bound.
#[inline(always)]
fn reassign(flow: &mut Flow, command: &Command) -> bool {
    for _ in 0..ATTEMPTS {
        let state = flow.state();
        if matches!(state, State::Killed | State::Alias) {
            return false;
        }
        let counted = Counted::by(flow);
        if atomic::change_rule(flow, state, command.rule) {
            flow.protocol = command.protocol;
            if !flow.is_counted_apart() {
                // What it has counted so far stays with the rule that let it in.
                tally::left(counted);
                tally::entered(Counted { rule: command.rule, ..counted });
            }
            pinholes::parent_changed(flow.id, command.protocol);
            return true;
        }
    }
    false
}
