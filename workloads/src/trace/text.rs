//! What the text formats share: fields, numbers and operations.

use std::str::Split;
use std::string::String;

use super::{Op, Problem};

/// How much of a wrong field an error repeats, in characters.
const QUOTED_MAX: usize = 40;

/// The fields of a line, without the blanks around them.
pub(super) struct Fields<'a>(Split<'a, char>);

/// One field and what it is called.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) name: &'static str,
    pub(super) text: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        Self(line.split(','))
    }

    pub(super) fn next(&mut self, name: &'static str) -> Result<Field<'a>, Problem> {
        match self.0.next() {
            Some(text) => Ok(Field {
                name,
                text: text.trim_ascii(),
            }),
            None => Err(Problem::FieldMissing(name)),
        }
    }
}

/// The value of a string of digits, and nothing but digits: no sign, as
/// `u64::from_str` takes. `None` when it is none, an overflow when it is too
/// long.
fn digits(text: &str) -> Option<Result<u64, ()>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().map_err(|_| ()))
}

impl Field<'_> {
    fn wrong(self, expected: &'static str) -> Problem {
        Problem::Field {
            name: self.name,
            text: self.text.chars().take(QUOTED_MAX).collect::<String>(),
            expected,
        }
    }

    /// A whole number of `unit`s, as what the units are made of.
    pub(super) fn whole(self, unit: u64) -> Result<u64, Problem> {
        digits(self.text)
            .ok_or_else(|| self.wrong("a whole number of at least 0"))?
            .ok()
            .and_then(|value| value.checked_mul(unit))
            .ok_or(Problem::Overflow(self.name))
    }

    /// A decimal number of `unit`s, exact: what is finer than 1 is cut, and no
    /// float rounds the rest. `unit` is a power of ten.
    pub(super) fn decimal(self, unit: u64) -> Result<u64, Problem> {
        let expected = "a decimal number of at least 0, without an exponent";
        let (whole, fraction) = self.text.split_once('.').unwrap_or((self.text, "0"));
        let value = match digits(whole) {
            None => return Err(self.wrong(expected)),
            Some(value) => value.ok().and_then(|value| value.checked_mul(unit)),
        };
        if digits(fraction).is_none() {
            return Err(self.wrong(expected));
        }
        let mut place = unit;
        let mut part = 0;
        for digit in fraction.bytes() {
            place /= 10;
            part += place * u64::from(digit - b'0');
        }
        value
            .and_then(|value| value.checked_add(part))
            .ok_or(Problem::Overflow(self.name))
    }

    /// A read or a write, in a word or a letter of either case.
    pub(super) fn operation(self) -> Result<Op, Problem> {
        let is = |word: &str| {
            self.text.eq_ignore_ascii_case(word) || self.text.eq_ignore_ascii_case(&word[..1])
        };
        match () {
            () if is("read") => Ok(Op::Read),
            () if is("write") => Ok(Op::Write),
            () => Err(self.wrong("read or write")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Field<'_> {
        Field { name: "time", text }
    }

    #[test]
    fn decimals_are_exact() {
        let ns = |text| field(text).decimal(1_000_000_000);
        assert_eq!(ns("0.026214").unwrap(), 26_214_000);
        assert_eq!(ns("11.000000001").unwrap(), 11_000_000_001);
        assert_eq!(ns("11.0000000019").unwrap(), 11_000_000_001);
        assert_eq!(ns("3").unwrap(), 3_000_000_000);
        assert_eq!(ns("18446744073.709551615").unwrap(), u64::MAX);
        assert!(matches!(
            ns("18446744073.709551616"),
            Err(Problem::Overflow("time"))
        ));
        for text in [
            "", ".", "1.", ".5", "-1", "+1", "1e3", "1.5e3", "nan", "1 2",
        ] {
            assert!(matches!(ns(text), Err(Problem::Field { .. })), "{text}");
        }
    }

    #[test]
    fn whole_numbers_have_nothing_but_digits() {
        assert_eq!(field("0012").whole(512).unwrap(), 6144);
        for text in ["", "+1", "-1", "1.0", "0x10", "1_000", "١"] {
            let found = field(text).whole(1);
            assert!(matches!(found, Err(Problem::Field { .. })), "{text}");
        }
        for (text, unit) in [("36028797018963968", 512), ("18446744073709551616", 1)] {
            let found = field(text).whole(unit);
            assert!(matches!(found, Err(Problem::Overflow(_))), "{text}");
        }
    }
}
