use proptest::prelude::*;

use super::super::{data::Source, samples, samples::story};
use super::*;

fn press(model: &mut Model, actions: &[Action]) -> Option<Effect> {
    actions.iter().filter_map(|action| model.act(*action, 0)).last()
}

fn write(model: &mut Model, line: &str) -> Option<Effect> {
    press(model, &[Action::EditLine, Action::EraseLine]);
    for character in line.chars() {
        press(model, &[Action::Type(character)]);
    }
    press(model, &[Action::Submit])
}

#[test]
fn a_filter_is_changed_only_after_a_yes() {
    let mut model = story();
    let effect =
        press(&mut model, &[Action::NextPane, Action::NextPane, Action::Bind(To::Monitor)]);
    assert_eq!(effect, None, "asked first");
    let Mode::Question(asked) = model.mode.clone() else { panic!("no question: {:?}", model.mode) };
    assert_eq!(asked.command(), "fwx --instance gw filter mode rtsp monitor");
    assert_eq!(press(&mut model, &[Action::Close]), None);
    assert_eq!(model.mode, Mode::Browse, "no is no");
    assert_eq!(press(&mut model, &[Action::Yes]), None, "there is no question any more");
    let effect = press(&mut model, &[Action::Bind(To::Monitor), Action::Yes]);
    assert_eq!(effect, Some(Effect::Change(asked)));
    model.take_outcome(Ok("rtsp: filter rtsp, mode monitor, profile strict".to_owned()));
    assert!(!model.notice.as_ref().unwrap().bad);
}

#[test]
fn the_chosen_protocol_is_the_one_that_is_asked_about() {
    let mut model = story();
    press(&mut model, &[Action::NextPane, Action::NextPane, Action::Down, Action::Enter]);
    let Mode::Question(asked) = &model.mode else { panic!("no question: {:?}", model.mode) };
    assert_eq!(asked.command(), "fwx --instance gw filter unbind ftp", "what comes behind monitor");
}

#[test]
fn what_was_bound_is_bound_again_as_it_was() {
    let mut model = story();
    let mut unbound = samples::figures_later();
    unbound.at += 1;
    unbound.filters[0].filter = None;
    unbound.filters[0].profile = "standard".to_owned();
    model.take_look(Look::Figures(Ok(unbound)));
    model.pane = Pane::Filters;
    press(&mut model, &[Action::Bind(To::Enforce)]);
    let Mode::Question(asked) = &model.mode else { panic!("no question: {:?}", model.mode) };
    assert_eq!(
        asked.command(),
        "fwx --instance gw filter bind rtsp rtsp --mode enforce --profile strict"
    );
}

#[test]
fn filters_are_changed_in_their_pane_only() {
    let mut model = story();
    assert_eq!(press(&mut model, &[Action::Bind(To::Unbound)]), None);
    assert_eq!(model.mode, Mode::Browse);
    assert!(model.notice.as_ref().unwrap().text.contains("Tab"));
}

#[test]
fn a_filter_line_that_is_wrong_is_said_and_stays_to_be_mended() {
    let mut model = story();
    assert_eq!(write(&mut model, "port=http"), None);
    assert_eq!(model.mode, Mode::Line);
    assert!(model.fault.as_ref().unwrap().contains("not a number"));
    assert_eq!(model.shown().log.len(), 3, "the log goes on as it was");
    press(&mut model, &[Action::EraseWord]);
    let effect = write(&mut model, "reason=tcp_not_syn port=554 !event=control");
    let Some(Effect::Subscribe(criteria)) = effect else { panic!("{effect:?}") };
    assert_eq!(criteria.event, ["!control"]);
    assert_eq!((model.mode.clone(), model.pane), (Mode::Browse, Pane::Log));
    assert!(model.shown().log.is_empty(), "it is asked for anew");
    assert_eq!(model.shown().source, Source::Asked);
}

#[test]
fn leaving_the_filter_line_changes_nothing() {
    let mut model = story();
    press(&mut model, &[Action::EditLine, Action::Type('x'), Action::Close]);
    assert_eq!((model.line.as_str(), model.fault.clone()), ("", None));
    assert_eq!(model.shown().log.len(), 3);
}

#[test]
fn a_paused_screen_stands_still_and_misses_nothing() {
    let mut model = story();
    press(&mut model, &[Action::Pause]);
    model.take_heard(Heard::Events(vec![samples::drop(4, 2)]));
    model.take_look(Look::Walked(Ok(Default::default())));
    assert_eq!((model.shown().log.len(), model.flows().len()), (3, 3));
    press(&mut model, &[Action::Pause]);
    assert_eq!((model.shown().log.len(), model.flows().len()), (4, 0));
}

#[test]
fn who_looks_at_an_older_event_goes_on_seeing_it() {
    let mut model = story();
    model.pane = Pane::Log;
    press(&mut model, &[Action::Up]);
    assert_eq!(model.chosen(Pane::Log), Some(1));
    model.take_heard(Heard::Events(vec![samples::drop(4, 2), samples::drop(5, 2)]));
    assert_eq!(model.chosen(Pane::Log), Some(3), "the kill still");
    press(&mut model, &[Action::Enter]);
    let Mode::Event(event) = &model.mode else { panic!("no event: {:?}", model.mode) };
    assert_eq!(event.event_id, 2);
    press(&mut model, &[Action::Close, Action::Bottom]);
    model.take_heard(Heard::Events(vec![samples::drop(6, 2)]));
    assert_eq!(model.chosen(Pane::Log), Some(0), "at its end it follows");
}

#[test]
fn flows_come_in_the_order_that_is_asked_for_at_once() {
    let mut model = story();
    let first = |model: &Model| model.flows()[0].row.flow_id;
    assert_eq!(first(&model), 4_097);
    let mut walked = samples::walked();
    walked.flows[2].row.age_s = 99;
    model.take_look(Look::Walked(Ok(walked)));
    for order in [Order::Packets, Order::Bytes, Order::Age] {
        assert_eq!(press(&mut model, &[Action::NextOrder]), Some(Effect::Order(order)));
    }
    assert_eq!(first(&model), 6_145, "the oldest");
}

#[test]
fn a_choice_stays_within_what_there_is() {
    let mut model = story();
    press(&mut model, &[Action::Bottom]);
    assert_eq!(model.chosen(Pane::Flows), Some(2));
    press(&mut model, &[Action::PageDown, Action::PageUp]);
    assert_eq!(model.chosen(Pane::Flows), Some(0));
    press(&mut model, &[Action::Bottom]);
    model.take_look(Look::Walked(Ok(Default::default())));
    assert_eq!(model.chosen(Pane::Flows), None);
}

#[test]
fn help_and_zoom_are_left_one_after_the_other() {
    let mut model = story();
    press(&mut model, &[Action::Zoom, Action::Help, Action::Close]);
    assert_eq!((model.mode.clone(), model.zoomed), (Mode::Browse, true));
    press(&mut model, &[Action::Close]);
    assert!(!model.zoomed);
}

proptest! {
    #[test]
    fn no_sequence_of_keys_is_too_odd(keys in prop::collection::vec((0..27_usize, any::<char>()), 0..60)) {
        let mut model = story();
        for (key, character) in keys {
            model.act(any_action(key, character), 0);
        }
    }
}

fn any_action(number: usize, character: char) -> Action {
    [
        Action::Help,
        Action::Close,
        Action::NextPane,
        Action::PreviousPane,
        Action::Zoom,
        Action::Pause,
        Action::Up,
        Action::Down,
        Action::PageUp,
        Action::PageDown,
        Action::Top,
        Action::Bottom,
        Action::NextOrder,
        Action::Enter,
        Action::Bind(To::Enforce),
        Action::Bind(To::Monitor),
        Action::Bind(To::Unbound),
        Action::Yes,
        Action::EditLine,
        Action::Type(character),
        Action::Erase,
        Action::EraseWord,
        Action::EraseLine,
        Action::Submit,
        Action::Redraw,
        Action::Suspend,
        Action::Quit,
    ][number]
}
