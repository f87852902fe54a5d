//! What the text formats share: lines, fields, numbers and operations.
//!
//! Lines are bytes, of which only the fields that are used must be ASCII: what else is in
//! a line may be in any encoding that extends it, such as Latin-1.

use std::string::String;
use std::vec::Vec;

use super::{Op, Problem};

/// How much of a wrong field, and of the line around it, an error repeats, in bytes.
const FIELD_QUOTED_MAX: usize = 40;
const LINE_QUOTED_MAX: usize = 80;

/// The mark that some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether a byte ends a line: a newline, or the carriage return of old Macs and their
/// spreadsheets. A file may have both, joined of several; both in a row end one line.
pub(super) fn ends_line(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The lines of a text, without what ends them.
fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = rest.iter().position(ends_line).unwrap_or(rest.len());
        let (line, end) = rest.split_at(len);
        rest = match end {
            [b'\r', b'\n', next @ ..] | [_, next @ ..] => next,
            [] => end,
        };
        Some(line)
    })
}

/// The content of a line, without the blanks around it; `None` for one that is blank or a
/// comment. Lines are counted from 1.
pub(super) fn content(line: &[u8], number: u64) -> Option<&[u8]> {
    let line = match number {
        1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
        _ => line,
    };
    let line = line.trim_ascii();
    (!line.is_empty() && line[0] != b'#').then_some(line)
}

/// The lines with content of a file that begins with `head`, and their numbers.
pub(super) fn content_lines(head: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let lines = (1..).zip(lines(head));
    lines.filter_map(|(number, line)| Some((number, content(line, number)?)))
}

/// True for a line that names columns instead of holding a request: each of the columns
/// `numbers` begins with a letter, a quote or an underscore, and `operation` is neither a read
/// nor a write.
pub(super) fn names_columns(line: &[u8], numbers: &[usize], operation: usize) -> bool {
    let fields: Vec<&[u8]> = Fields::of(line).collect();
    let is_name = |index: &usize| {
        let first = fields.get(*index).and_then(|field| field.first());
        first.is_some_and(|byte| byte.is_ascii_alphabetic() || b"\"'_".contains(byte))
    };
    let operation = fields.get(operation).map(|field| operation_of(field));
    numbers.iter().all(is_name) && operation == Some(None)
}

/// The text between quotes, as a programmer would write it, and no more than `max` bytes.
fn quoted(text: &[u8], max: usize) -> String {
    // A character that is cut through would make all of it bytes.
    let cut = (max.saturating_sub(3)..=max.min(text.len()))
        .rev()
        .find(|at| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80));
    let shown = &text[..cut.unwrap_or(max).min(text.len())];
    let dots = if shown.len() < text.len() { "…" } else { "" };
    match str::from_utf8(shown) {
        Ok(shown) => std::format!("{shown:?}{dots}"),
        Err(_) => std::format!("\"{}\"{dots}", shown.escape_ascii()),
    }
}

/// A line as errors repeat it.
pub(super) fn quoted_line(line: &[u8]) -> String {
    quoted(line, LINE_QUOTED_MAX)
}

/// What is between the fields of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    Comma,
    /// Blanks and tabs, any number of them.
    Blanks,
}

/// The fields of a line, without the blanks and the quotes around them. A quoted field may
/// hold commas; of a quote that it holds, both of the pair stay. Between blanks, a quote is a
/// character like any other.
pub(super) struct Fields<'a> {
    line: &'a [u8],
    separator: Separator,
    // What follows the separator behind the last field; `None` behind the last one.
    rest: Option<&'a [u8]>,
}

/// One field, what it is called, and the line that it is in.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    name: &'static str,
    text: &'a [u8],
    line: &'a [u8],
    separator: Separator,
}

impl<'a> Fields<'a> {
    /// Fields with commas between them.
    pub(super) fn of(line: &'a [u8]) -> Self {
        Self {
            line,
            separator: Separator::Comma,
            rest: Some(line),
        }
    }

    /// Fields with blanks between them.
    pub(super) fn between_blanks(line: &'a [u8]) -> Self {
        Self {
            separator: Separator::Blanks,
            ..Self::of(line)
        }
    }

    fn field(&self, name: &'static str, text: &'a [u8]) -> Field<'a> {
        Field {
            name,
            text,
            line: self.line,
            separator: self.separator,
        }
    }

    /// The next field, which must be there.
    pub(super) fn need(&mut self, name: &'static str) -> Result<Field<'a>, Problem> {
        match self.next() {
            Some(text) => Ok(self.field(name, text)),
            None => Err(missing(name, self.line, self.separator)),
        }
    }

    /// The end of the line, where a field called `name` would be one too many.
    pub(super) fn end(mut self, name: &'static str) -> Result<(), Problem> {
        match self.next() {
            Some(text) => Err(self.field(name, text).wrong("the end of the line")),
            None => Ok(()),
        }
    }

    fn next_between_blanks(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?.trim_ascii_start();
        let len = rest.iter().position(u8::is_ascii_whitespace);
        let (field, behind) = rest.split_at(len.unwrap_or(rest.len()));
        self.rest = Some(behind);
        (!field.is_empty()).then_some(field)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.separator == Separator::Blanks {
            return self.next_between_blanks();
        }
        let rest = self.rest?;
        let (field, behind) = quoted_field(rest).unwrap_or_else(|| {
            let len = rest.iter().position(|byte| *byte == b',');
            rest.split_at(len.unwrap_or(rest.len()))
        });
        self.rest = behind.strip_prefix(b",");
        Some(field.trim_ascii())
    }
}

/// The text between quotes at the beginning of `rest`, and what follows them from the next
/// comma on; `None` where the field is not quoted as a whole.
fn quoted_field(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let mut len = 0;
    loop {
        len += text[len..].iter().position(|byte| *byte == b'"')?;
        let behind = &text[len + 1..];
        if behind.first() != Some(&b'"') {
            let behind = behind.trim_ascii_start();
            let ends = behind.is_empty() || behind[0] == b',';
            return ends.then_some((&text[..len], behind));
        }
        len += 2;
    }
}

/// What may be between fields in the place of commas.
const SEPARATORS: [(u8, &str); 4] = [
    (b';', "semicolons"),
    (b'\t', "tabs"),
    (b'|', "bars"),
    (b' ', "blanks"),
];

/// Blanks are between words as well: so many fields and an operation make a request of them.
const FIELDS_MIN: usize = 4;

/// The problem of a line of fields between commas that would be a request if other separators
/// of it were commas.
fn other_separator(line: &[u8], separator: Separator) -> Option<Problem> {
    if separator != Separator::Comma {
        return None;
    }
    separated(line, |byte, fields| {
        let is_number = fields[0]
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
        let has_operation = || fields.iter().any(|field| operation_of(field).is_some());
        is_number && (byte != b' ' || fields.len() >= FIELDS_MIN && has_operation())
    })
}

/// The problem of a line without a comma whose fields, at least two, are `likely` separated by
/// another byte.
pub(super) fn separated(line: &[u8], likely: impl Fn(u8, &[&[u8]]) -> bool) -> Option<Problem> {
    let mut others = SEPARATORS.iter().filter(|_| !line.contains(&b','));
    let (_, separators) = others.find(|(byte, _)| {
        let fields = line.split(|other| other == byte).map(<[u8]>::trim_ascii);
        let fields: Vec<&[u8]> = fields.filter(|field| !field.is_empty()).collect();
        fields.len() > 1 && likely(*byte, &fields)
    })?;
    Some(Problem::Separator {
        separators,
        line: quoted_line(line),
    })
}

fn missing(name: &'static str, line: &[u8], separator: Separator) -> Problem {
    other_separator(line, separator).unwrap_or_else(|| Problem::FieldMissing {
        name,
        line: quoted_line(line),
    })
}

/// The value of a string of digits, and nothing but digits: no sign, as
/// `u64::from_str` takes. `None` when it is none, an overflow when it is too
/// long.
fn digits(text: &[u8]) -> Option<Result<u64, ()>> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().try_fold(0u64, |value, digit| {
        value.checked_mul(10)?.checked_add((digit - b'0').into())
    });
    Some(value.ok_or(()))
}

/// The operation of a word or a letter of either case.
fn operation_of(text: &[u8]) -> Option<Op> {
    let is = |word: &[u8]| text.eq_ignore_ascii_case(word) || text.eq_ignore_ascii_case(&word[..1]);
    match () {
        () if is(b"read") => Some(Op::Read),
        () if is(b"write") => Some(Op::Write),
        () => None,
    }
}

impl<'a> Field<'a> {
    /// The text of the field.
    pub(super) fn text(self) -> &'a [u8] {
        self.text
    }

    fn wrong(self, expected: &'static str) -> Problem {
        other_separator(self.line, self.separator).unwrap_or_else(|| Problem::Field {
            name: self.name,
            text: quoted(self.text, FIELD_QUOTED_MAX),
            expected,
            line: quoted_line(self.line),
        })
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
        let (whole, fraction) = match self.text.iter().position(|byte| *byte == b'.') {
            Some(point) => (&self.text[..point], &self.text[point + 1..]),
            None => (self.text, &b"0"[..]),
        };
        let value = match digits(whole) {
            None => return Err(self.wrong(expected)),
            Some(value) => value.ok().and_then(|value| value.checked_mul(unit)),
        };
        if digits(fraction).is_none() {
            return Err(self.wrong(expected));
        }
        let mut place = unit;
        let mut part = 0;
        for digit in fraction {
            place /= 10;
            part += place * u64::from(digit - b'0');
        }
        value
            .and_then(|value| value.checked_add(part))
            .ok_or(Problem::Overflow(self.name))
    }

    /// A read or a write, in a word or a letter of either case.
    pub(super) fn operation(self) -> Result<Op, Problem> {
        operation_of(self.text).ok_or_else(|| self.wrong("read or write"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Field<'_> {
        Field {
            name: "time",
            text: text.as_bytes(),
            line: b"a,line",
            separator: Separator::Comma,
        }
    }

    #[test]
    fn what_is_quoted_is_escaped_and_cut() {
        assert_eq!(quoted(b"a\"b\r\0", 40), r#""a\"b\r\0""#);
        assert_eq!(quoted(b"caf\xe9", 40), r#""caf\xe9""#);
        assert_eq!(quoted("café".as_bytes(), 40), "\"café\"");
        assert_eq!(quoted("café".as_bytes(), 4), "\"caf\"…");
        assert_eq!(quoted("café".as_bytes(), 5), "\"café\"");
        assert_eq!(quoted(&[0xff; 9], 4), r#""\xff\xff\xff\xff"…"#);
        assert_eq!(quoted(&[0x80; 9], 4).matches("x80").count(), 4);
        assert_eq!(quoted(b"", 4), "\"\"");
    }

    #[test]
    fn lines_end_in_one_way() {
        let lines = |text: &[u8]| -> Vec<(u64, Vec<u8>)> {
            let lines = content_lines(text).map(|(number, line)| (number, line.to_vec()));
            lines.collect()
        };
        let wanted = [(1, b"a".to_vec()), (4, b"b".to_vec())];
        for text in [
            "a\n\n# c\nb",
            "a\r\n \t\r\n  # c\r\nb\r\n",
            "a\r\r#c\rb\r",
            "\u{feff}a\n\n#\nb\n",
        ] {
            assert_eq!(lines(text.as_bytes()), wanted, "{text:?}");
        }
        // A mark that is not at the beginning is content.
        assert_eq!(
            lines("#\n\u{feff}a".as_bytes())[0].1,
            "\u{feff}a".as_bytes()
        );
    }

    #[test]
    fn a_header_has_names_where_numbers_belong() {
        let is_header = |line: &str| names_columns(line.as_bytes(), &[0, 2], 1);
        for line in ["time,op,size", " \"time\" ,type, _size,x", "t,,s"] {
            assert!(is_header(line), "{line}");
        }
        // One number, a read, a column too few, an empty name: no header.
        for line in [
            "time,op,7",
            "1,op,size",
            "time,R,size",
            "time,op",
            ",op,size",
        ] {
            assert!(!is_header(line), "{line}");
        }
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
