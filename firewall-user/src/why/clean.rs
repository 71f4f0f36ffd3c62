//! Events may come from a file that anybody wrote: whatever their texts hold, a story is printable.

use crate::{event::Event, events::printable};

/// The event with each of its texts made printable.
pub(super) fn clean(mut event: Event) -> Event {
    for text in [&mut event.timestamp, &mut event.event] {
        make_printable(text);
    }
    let texts = [
        &mut event.instance,
        &mut event.reason,
        &mut event.code,
        &mut event.interface,
        &mut event.direction,
        &mut event.protocol,
        &mut event.transport,
        &mut event.rule,
        &mut event.community_id,
        &mut event.message,
    ];
    texts.into_iter().flatten().for_each(make_printable);
    if let Some(tcp) = &mut event.tcp {
        make_printable(&mut tcp.flags);
    }
    if let Some(filter) = &mut event.filter {
        let texts = [
            &mut filter.name,
            &mut filter.mode,
            &mut filter.profile,
            &mut filter.finding,
            &mut filter.excerpt,
        ];
        texts.into_iter().for_each(make_printable);
    }
    if let Some(totals) = &mut event.totals {
        make_printable(&mut totals.started);
    }
    event
}

fn make_printable(text: &mut String) {
    if let std::borrow::Cow::Owned(shown) = printable(text) {
        *text = shown;
    }
}
