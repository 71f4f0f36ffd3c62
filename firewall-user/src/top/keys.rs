//! What keys stand for, and the lines that tell of it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    change::To,
    model::{Mode, Pane},
};

/// What can be done by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they say what they do")]
pub enum Action {
    Quit,
    Suspend,
    Redraw,
    Help,
    Close,
    NextPane,
    PreviousPane,
    Zoom,
    Pause,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    NextOrder,
    Enter,
    Bind(To),
    Yes,
    EditLine,
    Type(char),
    Erase,
    EraseWord,
    EraseLine,
    Submit,
}

/// What `key` stands for; `None`: nothing.
pub fn action(key: KeyEvent, mode: &Mode) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return with_control(key.code, mode);
    }
    match mode {
        Mode::Browse => browsing(key.code),
        Mode::Line => writing(key.code),
        Mode::Question(_) => match key.code {
            KeyCode::Char('y' | 'Y') => Some(Action::Yes),
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => Some(Action::Close),
            _ => None,
        },
        Mode::Help | Mode::Event(_) => Some(Action::Close),
    }
}

fn with_control(code: KeyCode, mode: &Mode) -> Option<Action> {
    match (code, mode) {
        (KeyCode::Char('c'), _) => Some(Action::Quit),
        (KeyCode::Char('z'), _) => Some(Action::Suspend),
        (KeyCode::Char('l'), _) => Some(Action::Redraw),
        (KeyCode::Char('u'), Mode::Line) => Some(Action::EraseLine),
        (KeyCode::Char('w'), Mode::Line) => Some(Action::EraseWord),
        (KeyCode::Char('h'), Mode::Line) => Some(Action::Erase),
        _ => None,
    }
}

fn browsing(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        KeyCode::Tab => Action::NextPane,
        KeyCode::BackTab => Action::PreviousPane,
        KeyCode::Up | KeyCode::Char('k') => Action::Up,
        KeyCode::Down | KeyCode::Char('j') => Action::Down,
        KeyCode::PageUp => Action::PageUp,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Action::Top,
        KeyCode::End | KeyCode::Char('G') => Action::Bottom,
        KeyCode::Enter => Action::Enter,
        KeyCode::Char('s') => Action::NextOrder,
        KeyCode::Char('z') => Action::Zoom,
        KeyCode::Char(' ') => Action::Pause,
        KeyCode::Char('/') => Action::EditLine,
        KeyCode::Char('e') => Action::Bind(To::Enforce),
        KeyCode::Char('m') => Action::Bind(To::Monitor),
        KeyCode::Char('u') => Action::Bind(To::Unbound),
        KeyCode::Esc => Action::Close,
        _ => return None,
    })
}

fn writing(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char(character) => Action::Type(character),
        KeyCode::Backspace => Action::Erase,
        KeyCode::Enter => Action::Submit,
        KeyCode::Esc => Action::Close,
        _ => return None,
    })
}

/// The line of keys at the lower end: what they are for in this mode and pane, most needed first.
pub fn line(mode: &Mode, pane: Pane) -> &'static str {
    match (mode, pane) {
        (Mode::Browse, Pane::Flows) => {
            "q quit  ? help  Tab pane  s sort  z zoom  / filter log  Space pause"
        }
        (Mode::Browse, Pane::Drops) => {
            "q quit  ? help  Tab pane  z zoom  / filter log  Space pause"
        }
        (Mode::Browse, Pane::Filters) => {
            "q quit  ? help  Tab pane  e enforce  m monitor  u unbind  z zoom  Space pause"
        }
        (Mode::Browse, Pane::Log) => {
            "q quit  ? help  Tab pane  / filter log  Enter event  z zoom  Space pause"
        }
        (Mode::Line, _) => "Enter use it  Esc leave it  Ctrl-U empty it",
        (Mode::Question(_), _) => "y yes  n no",
        (Mode::Help | Mode::Event(_), _) => "any key goes back",
    }
}

/// What help shows: keys, and what they do.
pub const HELP: [[&str; 2]; 14] = [
    ["q, Ctrl-C", "quit; the firewall goes on"],
    ["Tab, Shift-Tab", "next pane, pane before"],
    ["arrows, PgUp, PgDn", "another row; Home and End the first and last"],
    ["z", "the pane alone, and back"],
    ["s", "sort flows by rate, packets/s, bytes, age"],
    ["Space", "stop the picture, and go on"],
    ["/", "filter the log: KEY=VALUE words, ! for not"],
    ["", "reason=tcp_not_syn port=554 !event=control"],
    ["e, m, u", "filters: enforce, monitor, unbind; asks first"],
    ["Enter", "filters: the next of these; log: event in full"],
    ["Esc", "leave what lies over the screen, or the zoom"],
    ["Ctrl-Z", "the shell for a while; `fg` comes back"],
    ["Ctrl-L", "draw everything anew"],
    ["?", "this"],
];

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, mode: &Mode) -> Option<Action> {
        action(KeyEvent::new(code, KeyModifiers::NONE), mode)
    }

    #[test]
    fn letters_are_text_while_a_line_is_written() {
        assert_eq!(press(KeyCode::Char('q'), &Mode::Browse), Some(Action::Quit));
        assert_eq!(press(KeyCode::Char('q'), &Mode::Line), Some(Action::Type('q')));
        assert_eq!(press(KeyCode::Char('q'), &Mode::Help), Some(Action::Close));
    }

    #[test]
    fn control_c_ends_it_wherever_one_is() {
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for mode in [Mode::Browse, Mode::Help, Mode::Line] {
            assert_eq!(action(key, &mode), Some(Action::Quit));
        }
    }

    #[test]
    fn every_line_of_keys_fits_into_the_smallest_usual_terminal() {
        for pane in Pane::ALL {
            for mode in [Mode::Browse, Mode::Help, Mode::Line] {
                assert!(line(&mode, pane).len() < 80);
            }
        }
        assert!(HELP.iter().all(|[key, does]| key.len() <= 18 && does.len() <= 54));
    }

    #[test]
    fn a_key_that_is_let_go_is_no_key() {
        let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        key.kind = KeyEventKind::Release;
        assert_eq!(action(key, &Mode::Browse), None);
    }
}
