//! Numbers as people read them.

/// A figure with three digits or a few more, thousands apart.
pub(crate) fn figure(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        _ if magnitude >= 100.0 || value.fract() == 0.0 => 0,
        _ if magnitude >= 10.0 => 1,
        _ => 2,
    };
    grouped(&format!("{value:.decimals$}"))
}

/// Puts commas between the thousands of a decimal number.
fn grouped(number: &str) -> String {
    let (sign, rest) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    let mut text = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_few_digits_and_thousands_apart() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (2.254, "2.25"),
            (-0.128, "-0.13"),
            (22.54, "22.5"),
            (999.6, "1,000"),
            (-12_345.0, "-12,345"),
            (4_000_000.4, "4,000,000"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(figure(f64::NAN), "NaN");
    }
}
