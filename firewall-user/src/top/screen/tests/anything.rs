//! Whatever there is to show, and however large the terminal is, drawing it fails nowhere.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn it_draws_anything_at_any_size(
        size in (0..220_u16, 0..70_u16),
        numbers in any::<[u64; 6]>(),
        count in 0..60_usize,
        text in any::<String>(),
        keys in prop::collection::vec(any::<usize>(), 0..6),
        empty in any::<bool>(),
        unicode in any::<bool>(),
    ) {
        let mut model = if empty { Model::default() } else { story() };
        model.take_look(Look::Walked(Ok(odd_walk(numbers, count, &text))));
        let mut figures = samples::figures_later();
        figures.at = numbers[0];
        figures.packets.ingress = numbers[1];
        figures.bytes.egress = numbers[2];
        figures.drops = BTreeMap::from([(samples::NOT_SYN, numbers[3])]);
        figures.filters[0].kills = numbers[4] / 4;
        figures.filters[0].protocol = text.clone();
        figures.timestamp = text.clone();
        model.take_look(Look::Figures(Ok(figures)));
        let mut event = samples::drop(numbers[5], numbers[1]);
        event.timestamp = text.clone();
        event.message = Some(text.clone());
        model.take_heard(Heard::Events(vec![event; count]));
        for key in keys {
            model.act(KEYS[key % KEYS.len()], 0);
        }
        for character in text.chars() {
            model.act(Action::Type(character), 0);
        }
        lines(&model, Theme { coloured: true, unicode }, size.into()).unwrap();
    }
}

const KEYS: [Action; 14] = [
    Action::Help,
    Action::NextPane,
    Action::Zoom,
    Action::Pause,
    Action::Up,
    Action::PageDown,
    Action::Bottom,
    Action::NextOrder,
    Action::Enter,
    Action::Bind(To::Monitor),
    Action::Bind(To::Unbound),
    Action::EditLine,
    Action::Submit,
    Action::Close,
];

fn odd_walk(numbers: [u64; 6], count: usize, text: &str) -> Walked {
    let mut walked = samples::walked();
    let like = walked.flows[0].clone();
    walked.flows = (0..count)
        .map(|index| {
            let mut flow = like.clone();
            flow.row.flow_id = numbers[index % 6];
            flow.row.bytes.original = numbers[(index + 1) % 6];
            flow.row.bytes.reply = numbers[(index + 2) % 6];
            flow.row.age_s = numbers[(index + 3) % 6];
            flow.rate.bits_per_s = numbers[(index + 4) % 6];
            flow.row.rule = Some(text.to_owned());
            flow
        })
        .collect();
    walked.flows_met = numbers[0];
    walked.tables[0].percent = numbers[1];
    walked
}
