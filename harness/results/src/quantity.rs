//! How quantities are written for people.

/// Units of a value, the largest first: how much one is, and its name.
const BYTES: [(f64, &str); 4] = [
    ((1u64 << 40) as f64, "TiB"),
    ((1u64 << 30) as f64, "GiB"),
    ((1u64 << 20) as f64, "MiB"),
    ((1u64 << 10) as f64, "KiB"),
];

const TIME_NS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];

fn in_units(value: f64, units: &[(f64, &str)], smallest: &str) -> String {
    let (one, name) = units
        .iter()
        .find(|(one, _)| value >= *one)
        .copied()
        .unwrap_or((1.0, smallest));
    let number = value / one;
    // Three digits, without zeros that say nothing.
    let decimals = match number {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{number:.decimals$}");
    let short = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{short} {name}")
}

/// `64 MiB`.
pub fn bytes(value: f64) -> String {
    in_units(value, &BYTES, "B")
}

/// `1.5 ms`.
pub fn time(ns: f64) -> String {
    in_units(ns, &TIME_NS, "ns")
}

/// `262,144`.
pub fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds with two decimals, without the unit.
pub fn millis(ns: u64) -> String {
    format!("{:.2}", ns as f64 / 1e6)
}

/// Microseconds with one decimal, without the unit.
pub fn micros(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1e3)
}

/// A part of a whole in percent with two decimals, with the sign.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_with_their_units() {
        assert_eq!(bytes(f64::from(64 << 20)), "64 MiB");
        assert_eq!(bytes(31.0 * (1u64 << 30) as f64), "31 GiB");
        assert_eq!(time(1_500_000.0), "1.5 ms");
        assert_eq!(time(100_000.0), "100 µs");
        assert_eq!(time(10e9), "10 s");
        assert_eq!(count(262_144.0), "262,144");
        assert_eq!(count(999.0), "999");
        assert_eq!(count(0.0), "0");
        assert_eq!(millis(1_234_567), "1.23");
        assert_eq!(micros(1_234), "1.2");
        assert_eq!(percent(1, 8), "12.50 %");
        assert_eq!(percent(0, 0), "0.00 %");
    }
}
