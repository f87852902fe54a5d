//! The values of an axis: a list or a range.

use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use toml::Value;

/// Upper bound of the points of a sweep, and so of the values of an axis.
pub(super) const MAX_POINTS: usize = 100_000;

/// A range in a sweep's file, both ends included.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: Value,
    to: Value,
    step: Option<Value>,
    points: Option<u32>,
    #[serde(default)]
    scale: Scale,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scale {
    #[default]
    Linear,
    Log,
}

/// A value as text for tables: TOML, with strings unquoted.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The values of a list or a range. Duplicates are errors.
pub(super) fn expand(value: Value) -> Result<Vec<Value>> {
    let values = match value {
        Value::Array(list) => list,
        Value::Table(table) => {
            let range: Range = table.try_into().map_err(|error: toml::de::Error| {
                let text = error.to_string().trim().replace('\n', " ");
                anyhow::anyhow!("invalid range: {text}")
            })?;
            range.expand()?
        }
        other => {
            bail!("{other} is a single value: set it under [fixed], or use a list or a range")
        }
    };
    ensure!(!values.is_empty(), "the list is empty");
    ensure!(
        values.len() <= MAX_POINTS,
        "{} values exceed the limit of {MAX_POINTS} points",
        values.len()
    );
    let mut texts = std::collections::BTreeSet::new();
    for value in &values {
        let scalar = match value {
            Value::String(text) => !text.chars().any(char::is_control),
            Value::Integer(_) | Value::Boolean(_) => true,
            Value::Float(number) => number.is_finite(),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => false,
        };
        ensure!(
            scalar,
            "invalid value {value}; expected a number, a string on one line, true or false"
        );
        ensure!(texts.insert(text(value)), "{value} is listed twice");
    }
    Ok(values)
}

fn number(key: &str, value: &Value) -> Result<f64> {
    let number = match value {
        Value::Integer(whole) => *whole as f64,
        Value::Float(number) => *number,
        _ => bail!("invalid `{key}` {value} of the range; expected a number"),
    };
    // Integers up to 2^53 are exact in floating point.
    ensure!(
        number.abs() <= 2f64.powi(53),
        "invalid `{key}` {value} of the range; the limit is 2^53"
    );
    Ok(number)
}

/// Rounds to significant decimal digits, so that 0.1 + 0.2 gives 0.3.
fn rounded(number: f64, digits: usize) -> f64 {
    format!("{number:.*e}", digits - 1)
        .parse()
        .expect("a formatted number parses")
}

impl Range {
    fn expand(&self) -> Result<Vec<Value>> {
        let (from, to) = (number("from", &self.from)?, number("to", &self.to)?);
        ensure!(
            from <= to,
            "invalid range from {from} to {to}: `from` must be the lower end"
        );
        let whole = [Some(&self.from), Some(&self.to), self.step.as_ref()]
            .into_iter()
            .flatten()
            .all(Value::is_integer);
        let numbers = match (&self.step, self.points) {
            (Some(step), None) => {
                ensure!(
                    self.scale == Scale::Linear,
                    "a range with a log scale needs `points`, not `step`"
                );
                by_step(from, to, number("step", step)?)?
            }
            (None, Some(points)) => by_points(from, to, points, self.scale, whole)?,
            _ => bail!("a range needs either `step` or `points`"),
        };
        let mut values: Vec<Value> = numbers
            .into_iter()
            .map(|number| {
                if whole {
                    Value::Integer(number.round() as i64)
                } else {
                    Value::Float(number)
                }
            })
            .collect();
        // Rounding may make neighbours equal.
        values.dedup();
        Ok(values)
    }
}

fn by_step(from: f64, to: f64, step: f64) -> Result<Vec<f64>> {
    ensure!(
        step > 0.0,
        "invalid `step` {step} of the range; expected more than 0"
    );
    // The margin keeps the end in the range despite floating-point errors.
    let steps = ((to - from) / step + 1e-9).floor();
    ensure!(
        steps < MAX_POINTS as f64,
        "the range has {} values, more than the limit of {MAX_POINTS} points",
        steps + 1.0
    );
    let values = (0..=steps as u32).map(|i| rounded(from + f64::from(i) * step, 15));
    Ok(values.collect())
}

fn by_points(from: f64, to: f64, points: u32, scale: Scale, whole: bool) -> Result<Vec<f64>> {
    ensure!(
        points >= 2 && points as usize <= MAX_POINTS,
        "invalid `points` {points} of the range; expected 2 to {MAX_POINTS}"
    );
    ensure!(
        scale == Scale::Linear || from > 0.0,
        "invalid `from` {from} of a range with a log scale; expected more than 0"
    );
    let last = points - 1;
    let values = (0..points).map(|i| {
        let part = f64::from(i) / f64::from(last);
        match (i, scale) {
            // The ends are exact.
            (0, _) => from,
            (i, _) if i == last => to,
            (_, Scale::Log) => rounded(from * (to / from).powf(part), 3),
            (_, Scale::Linear) => rounded(from + (to - from) * part, 15),
        }
    });
    Ok(values
        .map(|value| if whole { value.round() } else { value })
        // Rounding to three digits may pass an end with more digits.
        .map(|value| value.clamp(from, to))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of an axis from TOML text.
    fn parsed(text: &str) -> Result<Vec<Value>> {
        let mut table: toml::Table = format!("v = {text}").parse().unwrap();
        expand(table.remove("v").unwrap())
    }

    fn texts(toml: &str) -> Vec<String> {
        parsed(toml).unwrap().iter().map(text).collect()
    }

    #[test]
    fn ranges_are_inclusive_and_whole_where_their_numbers_are() {
        assert_eq!(
            texts("{ from = 5, to = 95, step = 30 }"),
            ["5", "35", "65", "95"]
        );
        assert_eq!(texts("{ from = 5, to = 94, step = 30 }"), ["5", "35", "65"]);
        assert_eq!(
            texts("{ from = 0.1, to = 0.4, step = 0.1 }"),
            ["0.1", "0.2", "0.3", "0.4"]
        );
        assert_eq!(
            texts("{ from = 0, to = 1.0, step = 0.5 }"),
            ["0.0", "0.5", "1.0"]
        );
        assert_eq!(
            texts("{ from = 10, to = 20, points = 3 }"),
            ["10", "15", "20"]
        );
        assert_eq!(texts("{ from = 7, to = 7, step = 1 }"), ["7"]);
    }

    #[test]
    fn log_ranges_keep_their_ends_and_three_digits_between() {
        assert_eq!(
            texts("{ from = 1024, to = 131072, points = 4, scale = \"log\" }"),
            ["1024", "5160", "26000", "131072"]
        );
        assert_eq!(
            texts("{ from = 0.001, to = 1.0, points = 4, scale = \"log\" }"),
            ["0.001", "0.01", "0.1", "1.0"]
        );
        // Equal values after rounding are one value.
        assert_eq!(
            texts("{ from = 1, to = 4, points = 9, scale = \"log\" }"),
            ["1", "2", "3", "4"]
        );
        // Rounded values stay within the ends.
        for value in parsed("{ from = 9999, to = 10001, points = 5, scale = \"log\" }").unwrap() {
            assert!((9999..=10001).contains(&value.as_integer().unwrap()));
        }
    }

    #[test]
    fn lists_hold_any_scalars() {
        assert_eq!(
            texts("[\"gaussian\", 1, 2.5, true]"),
            ["gaussian", "1", "2.5", "true"]
        );
    }

    #[test]
    fn errors_name_the_value() {
        for (toml, word) in [
            ("5", "[fixed]"),
            ("[]", "empty"),
            ("[1, 1]", "1 is listed twice"),
            ("[[1], [2]]", "invalid value [1]"),
            ("[nan]", "invalid value nan"),
            ("[\"a\\nb\"]", "one line"),
            ("{ from = 1, to = 2 }", "`step` or `points`"),
            (
                "{ from = 1, to = 2, step = 1, points = 2 }",
                "`step` or `points`",
            ),
            ("{ from = 1, to = 2, step = 0 }", "more than 0"),
            ("{ from = 1, to = 2, step = nan }", "`step`"),
            ("{ from = 2, to = 1, step = 1 }", "lower end"),
            ("{ from = nan, to = 1, step = 1 }", "`from`"),
            ("{ from = 1, to = inf, step = 1 }", "`to`"),
            ("{ from = 1, to = \"x\", step = 1 }", "`to`"),
            ("{ from = 1, to = 2, stride = 1 }", "stride"),
            ("{ from = 0, to = 1000000, step = 1 }", "1000001 values"),
            ("{ from = 1, to = 2, points = 1 }", "`points`"),
            ("{ from = 1, to = 2, points = 200000 }", "`points`"),
            (
                "{ from = 0, to = 2, points = 3, scale = \"log\" }",
                "more than 0",
            ),
            ("{ from = 1, to = 2, step = 1, scale = \"log\" }", "log"),
            (
                "{ from = 1, to = 2, points = 3, scale = \"cubic\" }",
                "cubic",
            ),
        ] {
            let error = format!("{:#}", parsed(toml).unwrap_err());
            assert!(error.contains(word), "{toml}: {error}");
        }
    }
}
