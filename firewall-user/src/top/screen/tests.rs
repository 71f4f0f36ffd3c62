mod anything;

use expect_test::{Expect, expect};

use super::super::{
    change::To,
    data::Heard,
    keys::Action,
    look::{Look, Walked},
    once::lines,
    samples::{self, story},
};
use super::*;

const PLAIN: Theme = Theme { coloured: false, unicode: false };
const RICH: Theme = Theme { coloured: true, unicode: true };
const USUAL: [u16; 2] = [80, 24];

fn press(model: &mut Model, actions: &[Action]) {
    for action in actions {
        model.act(*action, 0);
    }
}

fn shows(model: &Model, theme: Theme, size: [u16; 2], expected: Expect) {
    expected.assert_eq(&lines(model, theme, size).unwrap());
}

#[test]
fn an_excerpt_is_escaped_once() {
    let mut model = story();
    let mut event = samples::kill(4);
    let filter = event.filter.as_mut().unwrap();
    // As events have it, whose excerpt is ASCII with escapes.
    filter.excerpt = r"A\x1b[2J\r\n".to_owned();
    model.take_heard(Heard::Events(vec![event]));
    let shown = lines(&model, PLAIN, [160, 40]).unwrap();
    assert!(shown.contains(r#"at byte 0: "A\x1b[2J\r\n""#), "{shown}");
}

#[test]
fn the_story_on_a_usual_terminal() {
    shows(
        &story(),
        RICH,
        USUAL,
        expect![[r#"
            fwx top  gw  controller 4711  policy cameras.toml                   03:04:06 UTC
            in 2400 pkt/s 20.0M bit/s  out 2200 pkt/s 16.8M bit/s  3 flows  tables 0 % full
            ─[Flows]─ 3 of 3 by rate ───────────────────────────────────────────────────────
            SOURCE            DESTINATION     PROTOCOL STATE       BIT/S PKT/S RULE
            10.1.0.2:40000    10.2.0.2:554    tcp/rtsp ESTABLISHED 1.23M   154 cameras
            [fd00:1::2]:40001 [fd00:2::2]:554 tcp/rtsp ESTABLISHED  9000     1 cameras
            10.1.0.2:40002    10.2.0.2:554    tcp/rtsp KILLED          0     0 cameras

            flow 4097: rule cameras, filter rtsp enforce, 440 packets, 404k bytes, age 12s,…
            ─ Drops ─ in the last 1s, the newest at the right ──────────────────────────────
            REASON      PKT/S LATELY TOTAL
            TCP_NOT_SYN     7      7    12                                                 █
            LAND_ATTACK     0      0     1
            ─ Filters ─ 1 killed ───────────────────────────────────────────────────────────
            PROTOCOL PORTS FILTER MODE    PROFILE  SEGMENTS FINDINGS KILLS HELD
            rtsp     554   rtsp   enforce strict       4242        3     1    0
            ftp      21    ftp    monitor standard     4242        3     0    0
            smtp     25    -      unbound -            4242        3     0    0
            ─ Log ─ all events ─────────────────────────────────────────────────────────────
            03:04:05 note    controller started: attached anew
            03:04:05 KILL    tcp 10.1.0.2:40002 → 10.2.0.2:554 rtsp missing-cseq at byte 0:…
            03:04:05 drop    TCP_NOT_SYN tcp 10.1.0.2:40002 → 10.2.0.2:554 [A] because of e…

            q quit  ? help  Tab pane  s sort  z zoom  / filter log  Space pause
        "#]],
    );
}

#[test]
fn the_story_on_a_large_terminal() {
    shows(
        &story(),
        RICH,
        [120, 40],
        expect![[r#"
            fwx top  gw  controller 4711  policy cameras.toml                                                           03:04:06 UTC
            in 2400 pkt/s 20.0M bit/s  out 2200 pkt/s 16.8M bit/s  3 flows  full: IPv4 0 %, 0 % half-open; IPv6 0 %, 0 %
            ─[Flows]─ 3 of 3 by rate ───────────────────────────────────────────────────────────────────────────────────────────────
            SOURCE            DESTINATION     PROTOCOL STATE       BIT/S PKT/S BYTES AGE RULE    FILTER
            10.1.0.2:40000    10.2.0.2:554    tcp/rtsp ESTABLISHED 1.23M   154  404k 12s cameras rtsp enforce
            [fd00:1::2]:40001 [fd00:2::2]:554 tcp/rtsp ESTABLISHED  9000     1  404k 12s cameras rtsp enforce
            10.1.0.2:40002    10.2.0.2:554    tcp/rtsp KILLED          0     0  404k 12s cameras rtsp enforce















            flow 4097: rule cameras, filter rtsp enforce, 440 packets, 404k bytes, age 12s, idle 0s, lan0
            ─ Drops ─ in the last 1s, the newest at the right ────────── ─ Filters ─ 1 killed ──────────────────────────────────────
            REASON      PKT/S LATELY TOTAL                               PROTOCOL FILTER MODE    PROFILE  SEGMENTS FINDINGS KILLS
            TCP_NOT_SYN     7      7    12                             █ rtsp     rtsp   enforce strict       4242        3     1
            LAND_ATTACK     0      0     1                               ftp      ftp    monitor standard     4242        3     0
                                                                         smtp     -      unbound -            4242        3     0
            ─ Log ─ all events ─────────────────────────────────────────────────────────────────────────────────────────────────────
            03:04:05 note    controller started: attached anew
            03:04:05 KILL    tcp 10.1.0.2:40002 → 10.2.0.2:554 rtsp missing-cseq at byte 0: "OPTIONS rtsp://x RTSP/1.0" rule cameras
            03:04:05 drop    TCP_NOT_SYN tcp 10.1.0.2:40002 → 10.2.0.2:554 [A] because of event 2 rule cameras







            q quit  ? help  Tab pane  s sort  z zoom  / filter log  Space pause
        "#]],
    );
}

#[test]
fn the_story_in_ascii_on_the_smallest_terminal() {
    let mut model = story();
    press(&mut model, &[Action::PreviousPane]);
    shows(
        &model,
        PLAIN,
        [WIDTH_MIN, HEIGHT_MIN],
        expect![[r#"
            fwx top  gw  controller 4711  policy cameras.t~ 03:04:06 UTC
            in 2400 pkt/s 20.0M bit/s  out 2200 pkt/s 16.8M bit/s  3 fl~
            - Flows - 3 of 3 by rate -----------------------------------
            SOURCE          DESTINATION     PROTOC~ STATE    BIT/S PKT/S
            10.1.0.2:40000  10.2.0.2:554    tcp/rt~ ESTABLI~ 1.23M   154
            - Drops - in the last 1s, the newest at the right ----------
            REASON      PKT/S LATELY TOTAL
            TCP_NOT_SYN     7      7    12                             #
            - Filters - 1 killed ---------------------------------------
            PROTOCOL FILTER MODE    PROFILE  SEGMENTS FINDINGS KILLS
            rtsp     rtsp   enforce strict       4242        3     1
            -[Log]- all events -----------------------------------------
            03:04:05 note    controller started: attached anew
            03:04:05 KILL    tcp 10.1.0.2:40002 -> 10.2.0.2:554 rtsp mi~
            03:04:05 drop    TCP_NOT_SYN tcp 10.1.0.2:40002 -> 10.2.0.2~
            q quit  ? help  Tab pane  / filter log  Enter event  z zoom~
        "#]],
    );
}

#[test]
fn a_question_before_a_filter_is_changed() {
    let mut model = story();
    press(&mut model, &[Action::NextPane, Action::NextPane, Action::Bind(To::Monitor)]);
    shows(
        &model,
        RICH,
        USUAL,
        expect![[r#"
            fwx top  gw  controller 4711  policy cameras.toml                   03:04:06 UTC
            in 2400 pkt/s 20.0M bit/s  out 2200 pkt/s 16.8M bit/s  3 flows  tables 0 % full
            ─ Flows ─ 3 of 3 by rate ───────────────────────────────────────────────────────
            SOURCE            DESTINATION     PROTOCOL STATE       BIT/S PKT/S RULE
            10.1.0.2:40000    10.2.0.2:554    tcp/rtsp ESTABLISHED 1.23M   154 cameras
            [fd00:1::2]:40001 [fd00:2::2]:554 tcp/rtsp ESTABLISHED  9000     1 cameras
            10.1.0.2:40002    10.2.0.2:554    tcp/rtsp KILLED          0     0 cameras

            ─ ┌ Filter ──────────────────────────────────────────────────────────────────┐──
            RE│ rtsp: the filter rtsp, profile strict, goes from enforce to monitor?     │
            TC│ From the next packet on it reads and tells what it finds, and kills no   │ █
            LA│ connection.                                                              │
            ─[│ Gives up: what the profile forbids reaches the other end. Findings so    │──
            PR│ far: 3, kills: 1.                                                        │
            rt│ The same as: fwx --instance gw filter mode rtsp monitor                  │
            ft│ Do it? y yes  n no                                                       │
            sm└──────────────────────────────────────────────────────────────────────────┘
            ─ Log ─ all events ─────────────────────────────────────────────────────────────
            03:04:05 note    controller started: attached anew
            03:04:05 KILL    tcp 10.1.0.2:40002 → 10.2.0.2:554 rtsp missing-cseq at byte 0:…
            03:04:05 drop    TCP_NOT_SYN tcp 10.1.0.2:40002 → 10.2.0.2:554 [A] because of e…


            y yes  n no
        "#]],
    );
}

#[test]
fn a_filter_line_with_a_fault() {
    let mut model = story();
    press(&mut model, &[Action::Zoom, Action::EditLine]);
    press(&mut model, &"port=http".chars().map(Action::Type).collect::<Vec<_>>());
    press(&mut model, &[Action::Submit]);
    shows(
        &model,
        PLAIN,
        [80, 16],
        expect![[r#"
            fwx top  gw  controller 4711  policy cameras.toml                   03:04:06 UTC
            in 2400 pkt/s 20.0M bit/s  out 2200 pkt/s 16.8M bit/s  3 flows  tables 0 % full
            -[Flows]- 3 of 3 by rate -------------------------------------------------------
            SOURCE            DESTINATION     PROTOCOL STATE       BIT/S PKT/S RULE
            10.1.0.2:40000    10.2.0.2:554    tcp/rtsp ESTABLISHED 1.23M   154 cameras
            [fd00:1::2]:40001 [fd00:2::2]:554 tcp/rtsp ESTABLISHED  9000     1 cameras
            10.1.0.2:40002    10.2.0.2:554    tcp/rtsp KILLED          0     0 cameras





            flow 4097: rule cameras, filter rtsp enforce, 440 packets, 404k bytes, age 12s,~
            port http: not a number, or too large a one
            filter: port=http_
            Enter use it  Esc leave it  Ctrl-U empty it
        "#]],
    );
}

#[test]
fn an_event_in_full() {
    let mut model = story();
    press(&mut model, &[Action::PreviousPane, Action::Up, Action::Enter]);
    shows(
        &model,
        RICH,
        USUAL,
        expect![[r#"
            fwx top  gw  controller 4711  policy cameras.toml                   03:04:06 UTC
            in 2400 pkt/s 20.0M bit/s  out 2200 pkt/s 16.8M bit/s  3 flows  tables 0 % full
            ─ Flows ─ 3 of 3 by rate ───────────────────────────────────────────────────────
            SOURCE            DESTINATION     PROTOCOL STATE       BIT/S PKT/S RULE
            10.1.0.2:40000    10.2.0.2:554    tcp/rtsp ESTABLISHED 1.23M   154 cameras
            [fd00:1::2]:40001 [fd00:2::2]:554 tcp/rtsp ESTABLISHED  9000     1 cameras
            10.1.0.2:40002    10.2.0.2:554    tcp/rtsp KILLED          0     0 cameras
            ─ Drops ─ in the last 1s, the newest at the right ──────────────────────────────
            REASON      PKT/S LATELY TOTAL
            TC┌ Event ───────────────────────────────────────────────────────────────────┐ █
            LA│ 2026-01-02T03:04:05.000000000Z connection_killed FWX_E_CONNECTION_KILLED │
            ─ │ tcp 10.1.0.2:40002 -> 10.2.0.2:554 rtsp/missing-cseq at byte 0 (enforce, │──
            PR│ strict): "OPTIONS rtsp://x RTSP/1.0" rule "cameras"                      │
            rt│ Its story: fwx --instance gw why --event 2                               │
            ft└──────────────────────────────────────────────────────────────────────────┘
            smtp     25    -      unbound -            4242        3     0    0
            ─[Log]─ all events, 1 newer below ──────────────────────────────────────────────
            03:04:05 note    controller started: attached anew
            03:04:05 KILL    tcp 10.1.0.2:40002 → 10.2.0.2:554 rtsp missing-cseq at byte 0:…
            03:04:05 drop    TCP_NOT_SYN tcp 10.1.0.2:40002 → 10.2.0.2:554 [A] because of e…



            any key goes back
        "#]],
    );
}

#[test]
fn help() {
    let mut model = story();
    press(&mut model, &[Action::Help]);
    shows(
        &model,
        RICH,
        USUAL,
        expect![[r#"
            fwx top  gw  controller 4711  policy cameras.toml                   03:04:06 UTC
            in 2400 pkt/s 20.0M bit/s  out 2200 pkt/s 16.8M bit/s  3 flows  tables 0 % full
            ─[Flows]─ 3 of 3 by rate ───────────────────────────────────────────────────────
            SOURCE            DESTINATION     PROTOCOL STATE       BIT/S PKT/S RULE
            10┌ Keys ────────────────────────────────────────────────────────────────────┐
            [f│ q, Ctrl-C           quit; the firewall goes on                           │
            10│ Tab, Shift-Tab      next pane, pane before                               │
              │ arrows, PgUp, PgDn  another row; Home and End the first and last         │
            fl│ z                   the pane alone, and back                             │,…
            ─ │ s                   sort flows by rate, packets/s, bytes, age            │──
            RE│ Space               stop the picture, and go on                          │
            TC│ /                   filter the log: KEY=VALUE words, ! for not           │ █
            LA│                     reason=tcp_not_syn port=554 !event=control           │
            ─ │ e, m, u             filters: enforce, monitor, unbind; asks first        │──
            PR│ Enter               filters: the next of these; log: event in full       │
            rt│ Esc                 leave what lies over the screen, or the zoom         │
            ft│ Ctrl-Z              the shell for a while; `fg` comes back               │
            sm│ Ctrl-L              draw everything anew                                 │
            ─ │ ?                   this                                                 │──
            03└──────────────────────────────────────────────────────────────────────────┘
            03:04:05 KILL    tcp 10.1.0.2:40002 → 10.2.0.2:554 rtsp missing-cseq at byte 0:…
            03:04:05 drop    TCP_NOT_SYN tcp 10.1.0.2:40002 → 10.2.0.2:554 [A] because of e…

            any key goes back
        "#]],
    );
}

#[test]
fn what_asks_for_attention() {
    let mut model = story();
    let mut figures = samples::figures_later();
    figures.at += 1_000_000_000;
    figures.controller = Default::default();
    figures.syn_attack_since = Some("2026-01-02T03:00:00.000000000Z".to_owned());
    figures.timeouts_shortened = true;
    model.take_look(Look::Figures(Ok(figures)));
    let mut walked = samples::walked();
    walked.tables[0].percent = 91;
    (walked.flows_met, walked.flows_without_rate) = (1_234_567, 200_000);
    walked.took = std::time::Duration::from_millis(1_250);
    model.take_look(Look::Walked(Ok(walked)));
    model.take_heard(Heard::Ended("no controller runs for the instance \"gw\"".to_owned()));
    press(&mut model, &[Action::Pause]);
    shows(
        &model,
        PLAIN,
        USUAL,
        expect![[r#"
            fwx top  gw  no controller  policy cameras.toml             PAUSED  03:04:06 UTC
            in 0 pkt/s 0 bit/s  out 0 pkt/s 0 bit/s  1,234,567 flows  tables 91 % full
            SYN attack since 03:00:00 UTC: sources have to answer a challenge first
            tables fill: half-open IPv4 flows 91 %, timeouts are shortened
            no controller: the firewall works, nobody tells of it; `fwx --instance gw run` ~
            -[Flows]- 3 of 1,234,567 by rate, 200,000 without a rate yet, walk 1.2 s -------
            SOURCE            DESTINATION     PROTOCOL STATE       BIT/S PKT/S RULE
            10.1.0.2:40000    10.2.0.2:554    tcp/rtsp ESTABLISHED 1.23M   154 cameras
            [fd00:1::2]:40001 [fd00:2::2]:554 tcp/rtsp ESTABLISHED  9000     1 cameras
            10.1.0.2:40002    10.2.0.2:554    tcp/rtsp KILLED          0     0 cameras
            flow 4097: rule cameras, filter rtsp enforce, 440 packets, 404k bytes, age 12s,~
            - Drops - in the last 2s, the newest at the right ------------------------------
            REASON      PKT/S LATELY TOTAL
            TCP_NOT_SYN     0      7    12                                                #
            LAND_ATTACK     0      0     1
            - Filters - 1 killed -----------------------------------------------------------
            PROTOCOL PORTS FILTER MODE    PROFILE  SEGMENTS FINDINGS KILLS HELD
            rtsp     554   rtsp   enforce strict       4242        3     1    0
            ftp      21    ftp    monitor standard     4242        3     0    0
            - Log - not told ---------------------------------------------------------------
            03:04:05 KILL    tcp 10.1.0.2:40002 -> 10.2.0.2:554 rtsp missing-cseq at byte 0~
            03:04:05 drop    TCP_NOT_SYN tcp 10.1.0.2:40002 -> 10.2.0.2:554 [A] because of ~
            no controller runs for the instance "gw"
            q quit  ? help  Tab pane  s sort  z zoom  / filter log  Space pause
        "#]],
    );
}

#[test]
fn before_anything_was_read_and_when_the_instance_is_down() {
    let mut model = Model::default();
    let empty = lines(&model, PLAIN, USUAL).unwrap();
    for said in ["reading the flow tables", "nothing was dropped", "asking the controller"] {
        assert!(empty.contains(said), "{said}:\n{empty}");
    }
    model.take_look(Look::Figures(Err("the instance \"gw\" is not up".to_owned())));
    model.take_look(Look::Walked(Ok(Walked::default())));
    let down = lines(&model, PLAIN, USUAL).unwrap();
    assert!(down.contains("is not up") && down.contains("no flows"), "{down}");
}

#[test]
fn too_small_a_terminal_is_told_so() {
    let shown = lines(&story(), PLAIN, [40, 10]).unwrap();
    assert!(shown.contains("40 x 10 is too small"), "{shown}");
    assert!(shown.contains("fwx top needs 60 x 16"), "{shown}");
}

#[test]
fn without_colours_there_are_none() {
    let coloured = |theme| {
        let mut terminal =
            ratatui::Terminal::new(ratatui::backend::TestBackend::new(120, 40)).unwrap();
        terminal.draw(|frame| draw(frame, &story(), theme)).unwrap();
        let buffer = terminal.backend().buffer();
        buffer.content.iter().any(|cell| cell.fg != ratatui::style::Color::Reset)
    };
    assert!(coloured(RICH) && !coloured(PLAIN));
}

#[test]
fn a_plain_terminal_gets_plain_characters() {
    let mut model = story();
    for keys in [&[][..], &[Action::Help], &[Action::PreviousPane, Action::Up, Action::Enter]] {
        press(&mut model, keys);
        for size in [USUAL, [120, 40], [30, 5]] {
            let shown = lines(&model, PLAIN, size).unwrap();
            assert!(shown.is_ascii(), "{shown}");
        }
        press(&mut model, &[Action::Close]);
    }
}

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    let hostile = "\u{1b}[2J\u{202e}\n\u{9b}31m\0x";
    let mut model = story();
    let mut walked = samples::walked();
    walked.flows[0].row.rule = Some(hostile.to_owned());
    walked.flows[0].row.protocol = Some(hostile.to_owned());
    walked.flows[0].row.interface = Some(hostile.to_owned());
    model.take_look(Look::Walked(Ok(walked)));
    let mut figures = samples::figures_later();
    figures.at += 1;
    figures.policy = Some(hostile.to_owned());
    figures.filters[0].protocol = hostile.to_owned();
    model.take_look(Look::Figures(Ok(figures)));
    let mut event = samples::kill(9);
    event.message = Some(hostile.to_owned());
    event.rule = Some(hostile.to_owned());
    event.filter.as_mut().unwrap().excerpt = hostile.to_owned();
    model.take_heard(Heard::Events(vec![event]));
    press(&mut model, &[Action::PreviousPane, Action::Enter]);
    for keys in [&[][..], &[Action::Close], &[Action::PreviousPane, Action::Enter]] {
        press(&mut model, keys);
        for size in [USUAL, [160, 50]] {
            let shown = lines(&model, RICH, size).unwrap();
            let obeyed = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
            assert!(!shown.contains(obeyed), "{shown:?}");
            assert!(shown.contains(r"\u{1b}[2J"), "{shown}");
        }
    }
}

/// What docs/top.md shows was on a screen once. It is as old as what has changed since.
#[test]
fn the_documented_picture_is_of_this_screen() {
    let page = include_str!("../../../../docs/top.md");
    let mut blocks = page.split("```text\n").skip(1).map(|block| block.split("```").next());
    let (picture, question) = (blocks.next().flatten().unwrap(), blocks.next().flatten().unwrap());
    let rows: Vec<_> = picture.lines().collect();
    assert_eq!(rows.len(), 40);
    assert!(rows.iter().all(|row| text::width(row) <= 120));
    let has = |what: &str| assert!(picture.contains(what), "{what:?} is not there any more");
    let title = |pane: Pane| match pane {
        Pane::Flows => format!("─[{}]─", pane.title()),
        pane => format!("─ {} ─", pane.title()),
    };
    Pane::ALL.map(title).iter().for_each(|title| has(title));
    assert_eq!(rows[39], crate::top::keys::line(&Mode::Browse, Pane::Flows));
    // The headings are those that are drawn now, whatever the columns' widths.
    let now = lines(&story(), RICH, [120, 40]).unwrap();
    let words = |text: &str, first: &str| {
        let row = text.lines().find(|row| row.starts_with(first));
        row.map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    };
    for first in ["SOURCE ", "REASON "] {
        assert_eq!(words(picture, first), words(&now, first));
    }
    let asks =
        crate::top::change::Change::new("fwx", &samples::figures().filters[0], To::Monitor, None);
    let [changes, does, ..] = asks.unwrap().question();
    assert!(question.contains(&changes) && question.contains(&does), "{question}");
    for [keys, _] in crate::top::keys::HELP {
        for key in keys.split(", ").filter(|key| !key.is_empty() && *key != "arrows") {
            assert!(page.contains(&format!("`{key}`")), "{key} is not told of");
        }
    }
}
