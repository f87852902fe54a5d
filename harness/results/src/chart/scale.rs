//! Where ticks stand on an axis, and how values are written beside them.

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
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
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

/// Multiples of 1, 2 or 5 times a power of ten from 0 to `max`, about `wanted`
/// of them and all whole numbers.
pub fn linear_ticks(max: f64, wanted: usize) -> Vec<f64> {
    let rough = (max / wanted.max(1) as f64).max(1.0);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    (0..=(max / step) as u32)
        .map(|i| f64::from(i) * step)
        .collect()
}

/// The powers of `base` that are not below `from` and not above `to`.
pub fn powers(base: f64, from: f64, to: f64) -> Vec<f64> {
    // Logarithms of exact powers may come out a hair off.
    const HAIR: f64 = 1e-9;
    let exponents = ((from.ln() / base.ln()) - HAIR).ceil() as i32
        ..=((to.ln() / base.ln()) + HAIR).floor() as i32;
    exponents.map(|exponent| base.powi(exponent)).collect()
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
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            linear_ticks(11.0, 20),
            (0..=11).map(f64::from).collect::<Vec<_>>()
        );
        assert_eq!(
            linear_ticks(240.0, 12),
            (0..=12).map(|i| f64::from(i) * 20.0).collect::<Vec<_>>()
        );
        assert_eq!(linear_ticks(0.0, 5), [0.0]);
        assert_eq!(powers(10.0, 1e5, 2e7), [1e5, 1e6, 1e7]);
        assert_eq!(powers(4.0, 64.0, 1024.0), [64.0, 256.0, 1024.0]);
    }
}
