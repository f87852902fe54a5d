//! How long a guest may take for a resize, as `--deadline` takes it.

/// A deadline in milliseconds; 0 is none. Not the humantime crate: it accepts `0s` and
/// `1month 2h`, which are not deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline(pub(super) u64);

/// Parses it.
///
/// # Errors
/// When it has no unit, or is 0.
pub(super) fn parse_deadline(text: &str) -> Result<Deadline, String> {
    if text == "none" {
        return Ok(Deadline(0));
    }
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 1000),
        _ => (text, 0),
    };
    match number.parse::<u64>() {
        Ok(n) if n > 0 && factor > 0 => Ok(Deadline(n.saturating_mul(factor))),
        _ => Err(format!(
            "invalid time `{text}`; expected e.g. 5s, 500ms or none"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_have_units() {
        assert_eq!(parse_deadline("5s"), Ok(Deadline(5000)));
        assert_eq!(parse_deadline("50ms"), Ok(Deadline(50)));
        assert_eq!(parse_deadline("none"), Ok(Deadline(0)));
        for text in ["", "5", "0s", "s", "-1s"] {
            assert!(parse_deadline(text).is_err(), "{text}");
        }
    }
}
