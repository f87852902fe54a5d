//! The values of an axis: a list, or a range written out.

use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use toml::Value;

/// The most points of a sweep, hence the most values of an axis.
pub(super) const MAX_POINTS: usize = 100_000;

/// A range, as in a sweep's file; both ends belong to it.
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

/// A value as it stands in tables: TOML text, strings without quotes.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The values that a list or a range stands for, none of them twice.
pub(super) fn expand(value: Value) -> Result<Vec<Value>> {
    let values = match value {
        Value::Array(list) => list,
        Value::Table(table) => {
            let range: Range = table.try_into().map_err(|error: toml::de::Error| {
                let text = error.to_string().trim().replace('\n', " ");
                anyhow::anyhow!("the range is wrong: {text}")
            })?;
            range.expand()?
        }
        other => bail!("{other} is one value: put it under [fixed], or write a list or a range"),
    };
    ensure!(!values.is_empty(), "the list is empty");
    ensure!(
        values.len() <= MAX_POINTS,
        "{} values are more than the {MAX_POINTS} points that a sweep may have",
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
            "{value} cannot stand on an axis: numbers, strings of one line and true or false can"
        );
        ensure!(texts.insert(text(value)), "{value} is listed twice");
    }
    Ok(values)
}

fn number(key: &str, value: &Value) -> Result<f64> {
    let number = match value {
        Value::Integer(whole) => *whole as f64,
        Value::Float(number) => *number,
        _ => bail!("`{key}` of the range is {value}, which is no number"),
    };
    // Whole numbers up to here are exact in floating point.
    ensure!(
        number.abs() <= 2f64.powi(53),
        "`{key}` of the range is {value}, which is too large"
    );
    Ok(number)
}

/// A number to so many significant digits, by way of its decimal text, so that
/// 0.1 + 0.2 comes out as 0.3.
fn rounded(number: f64, digits: usize) -> f64 {
    format!("{number:.*e}", digits - 1)
        .parse()
        .expect("a number that was just written is a number")
}

impl Range {
    fn expand(&self) -> Result<Vec<Value>> {
        let (from, to) = (number("from", &self.from)?, number("to", &self.to)?);
        ensure!(
            from <= to,
            "the range goes from {from} down to {to}: write the lower end as `from`"
        );
        let whole = [Some(&self.from), Some(&self.to), self.step.as_ref()]
            .into_iter()
            .flatten()
            .all(Value::is_integer);
        let numbers = match (&self.step, self.points) {
            (Some(step), None) => {
                ensure!(
                    self.scale == Scale::Linear,
                    "a range on a log scale takes `points`, not `step`"
                );
                by_step(from, to, number("step", step)?)?
            }
            (None, Some(points)) => by_points(from, to, points, self.scale, whole)?,
            _ => bail!("a range takes either `step` or `points`"),
        };
        let mut values: Vec<Value> = numbers
            .into_iter()
            .map(|number| match whole {
                true => Value::Integer(number.round() as i64),
                false => Value::Float(number),
            })
            .collect();
        // Rounding joins points that lie close together.
        values.dedup();
        Ok(values)
    }
}

fn by_step(from: f64, to: f64, step: f64) -> Result<Vec<f64>> {
    ensure!(
        step > 0.0,
        "`step` of the range is {step}: choose more than 0"
    );
    // A step that does not divide the range in binary still reaches its end.
    let steps = ((to - from) / step + 1e-9).floor();
    ensure!(
        steps < MAX_POINTS as f64,
        "the range has {} values, more than the {MAX_POINTS} points that a sweep may have",
        steps + 1.0
    );
    let values = (0..=steps as u32).map(|i| rounded(from + f64::from(i) * step, 15));
    Ok(values.collect())
}

fn by_points(from: f64, to: f64, points: u32, scale: Scale, whole: bool) -> Result<Vec<f64>> {
    ensure!(
        points >= 2 && points as usize <= MAX_POINTS,
        "`points` of the range is {points}: choose 2 to {MAX_POINTS}"
    );
    ensure!(
        scale == Scale::Linear || from > 0.0,
        "a range on a log scale starts above 0, not at {from}"
    );
    let last = points - 1;
    let values = (0..points).map(|i| {
        let part = f64::from(i) / f64::from(last);
        match (i, scale) {
            // The ends are what was asked for, unrounded.
            (0, _) => from,
            (i, _) if i == last => to,
            (_, Scale::Log) => rounded(from * (to / from).powf(part), 3),
            (_, Scale::Linear) => rounded(from + (to - from) * part, 15),
        }
    });
    Ok(values
        .map(|value| if whole { value.round() } else { value })
        // Rounding to three digits must not pass an end that has more.
        .map(|value| value.clamp(from, to))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of an axis from TOML text.
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
        // Points that rounding joins are one point.
        assert_eq!(
            texts("{ from = 1, to = 4, points = 9, scale = \"log\" }"),
            ["1", "2", "3", "4"]
        );
        // All within the ends, which have more digits than what lies between.
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
    fn wrong_values_are_named() {
        for (toml, word) in [
            ("5", "[fixed]"),
            ("[]", "empty"),
            ("[1, 1]", "1 is listed twice"),
            ("[[1], [2]]", "[1] cannot stand"),
            ("[nan]", "nan cannot stand"),
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
                "above 0",
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
