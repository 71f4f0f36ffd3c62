//! The filter line: which events the log is to show, in words of `KEY=VALUE`.
//!
//! The keys are the options of `fwx events` without their dashes. `!` before a word, or before its value, turns it
//! around; quotes hold a value with blanks together: `reason=tcp_not_syn port=554 !event=control rule="lan to dmz"`.

use anyhow::Result;
use firewall_common::reason::Reason;

use crate::{bad_input, events::Criteria};

/// What can stand before the `=`.
fn keys() -> String {
    ["since", "until"].into_iter().chain(Criteria::LISTS).collect::<Vec<_>>().join(", ")
}

/// What `line` asks for; nothing is asked for by an empty one.
///
/// # Errors
///
/// Bad input: a word that is none, or a value that [`Criteria::selection`] refuses at `now`, nanoseconds since 1970.
pub fn parse(line: &str, now: i128) -> Result<Criteria> {
    let mut criteria = Criteria::default();
    for word in words(line)? {
        take_word(&mut criteria, &word)?;
    }
    if let Err(error) = criteria.selection(now) {
        // It speaks of options; here they are keys.
        bad_input!("{}", error.to_string().trim_start_matches("--"));
    }
    Ok(criteria)
}

fn take_word(criteria: &mut Criteria, word: &str) -> Result<()> {
    let Some((key, value)) = word.split_once('=') else {
        bad_input!("{word}: not KEY=VALUE; keys are {}", keys());
    };
    // `!port=554`, `port=!554` and `port!=554` are the same.
    let negated = key.starts_with('!') || key.ends_with('!') || value.starts_with('!');
    let (key, value) = (key.trim_matches('!'), value.trim_start_matches('!'));
    if value.is_empty() {
        bad_input!("{key}=: a value is missing");
    }
    let list = match key {
        "since" | "until" if negated => {
            bad_input!("{key} has no opposite: the other of both is it")
        }
        "since" => return set_once(&mut criteria.since, key, value),
        "until" => return set_once(&mut criteria.until, key, value),
        key => match criteria.list_mut(key) {
            Some(list) => list,
            None => bad_input!("{key}: no such key; there are {}", keys()),
        },
    };
    let sign = if negated { "!" } else { "" };
    let values = if key == "reason" { reasons(value) } else { vec![value.to_owned()] };
    list.extend(values.into_iter().map(|value| format!("{sign}{value}")));
    Ok(())
}

fn set_once(to: &mut Option<String>, key: &str, value: &str) -> Result<()> {
    if to.replace(value.to_owned()).is_some() {
        bad_input!("{key} stands there twice");
    }
    Ok(())
}

/// The reasons with `part` in their name, for nobody types whole ones; `part` itself if it is a whole one, a number, or
/// in none.
fn reasons(part: &str) -> Vec<String> {
    let upper = part.to_ascii_uppercase();
    let names = || Reason::ALL.iter().map(|reason| reason.name());
    let is_whole =
        names().any(|name| name == upper || name.strip_prefix("FWX_E_") == Some(upper.as_str()));
    let with_it: Vec<_> = names().filter(|name| name.contains(&upper)).map(str::to_owned).collect();
    if is_whole || with_it.is_empty() { vec![part.to_owned()] } else { with_it }
}

/// The line's words, which blanks part and quotes hold together. The quotes are gone.
fn words(line: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    if quoted {
        bad_input!("a quote is not closed");
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::BadInput;

    fn parsed(line: &str) -> Criteria {
        parse(line, 0).unwrap_or_else(|error| panic!("{line}: {error:#}"))
    }

    #[test]
    fn words_are_the_options_of_fwx_events() {
        let criteria = parsed(
            "  reason=TCP_NOT_SYN_PACKET_DROPPED port=554 port=8554 !event=control since=10m until=1m rule=\"lan to \
             dmz\" network=10.1.0.0/16 src=10.1.0.2 dst=fd00::/8 protocol=tcp interface=wan0 \
             filter=rtsp/missing-cseq flow=2049 ",
        );
        assert_eq!(
            criteria,
            Criteria {
                since: Some("10m".to_owned()),
                until: Some("1m".to_owned()),
                event: vec!["!control".to_owned()],
                reason: vec!["TCP_NOT_SYN_PACKET_DROPPED".to_owned()],
                network: vec!["10.1.0.0/16".to_owned()],
                src: vec!["10.1.0.2".to_owned()],
                dst: vec!["fd00::/8".to_owned()],
                port: vec!["554".to_owned(), "8554".to_owned()],
                protocol: vec!["tcp".to_owned()],
                interface: vec!["wan0".to_owned()],
                rule: vec!["lan to dmz".to_owned()],
                filter: vec!["rtsp/missing-cseq".to_owned()],
                flow: vec!["2049".to_owned()],
            }
        );
        assert_eq!(parsed("   "), Criteria::default());
    }

    #[test]
    fn the_opposite_is_written_in_three_ways() {
        for line in ["!port=554", "port=!554", "port!=554"] {
            assert_eq!(parsed(line).port, ["!554"], "{line}");
        }
    }

    #[test]
    fn a_part_of_a_reason_means_all_that_have_it() {
        assert_eq!(parsed("reason=tcp_not_syn").reason, ["FWX_E_TCP_NOT_SYN_PACKET_DROPPED"]);
        let spoofing = parsed("!reason=land").reason;
        assert!(spoofing.iter().all(|name| name.starts_with("!FWX_E_") && name.contains("LAND")));
        assert_eq!(parsed("reason=0xc0040017").reason, ["0xc0040017"]);
        assert_eq!(parsed("reason=connection_killed").reason, ["connection_killed"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            ("rtsp", "rtsp: not KEY=VALUE; keys are since"),
            ("colour=red", "colour: no such key; there are since"),
            ("port=", "a value is missing"),
            ("port=http", "port http: not a number"),
            ("reason=nonsense", "there is no such result code"),
            ("rule=\"lan to dmz", "a quote is not closed"),
            ("since=10m since=5m", "since stands there twice"),
            ("!since=10m", "since has no opposite"),
            ("since=yesterday", "no time"),
        ] {
            let error = parse(line, 0).unwrap_err();
            assert!(error.is::<BadInput>(), "{line}");
            assert!(error.to_string().contains(said), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_odd(line in any::<String>(), odd in "[!=\" a-z0-9./:]{0,40}") {
            let _ = (parse(&line, 0), parse(&odd, i128::MAX / 2));
        }
    }
}
