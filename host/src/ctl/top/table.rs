//! The columns of `vssdctl top`, the order of its rows, and the table as text.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum;

use super::summary::{Latency, Rates, Row, Summary};
use crate::ctl::arbiter;
use crate::size::ByteSize;

/// What rows are ordered by. Numbers descend; equal ones are ordered by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SortKey {
    /// Name.
    Name,
    /// Size held.
    Held,
    /// Size wanted by the arbiter.
    Wanted,
    /// Hit ratio.
    Hits,
    /// Reads a second.
    Reads,
    /// Writes a second.
    Writes,
    /// Bytes read and written a second.
    Bytes,
    /// 99th percentile of the latency.
    P99,
}

impl SortKey {
    /// Orders the vSSDs.
    pub(super) fn sort(self, summary: &mut Summary) {
        summary.vssds.sort_by(|a, b| self.order(a, b));
    }

    /// The order of two rows.
    fn order(self, a: &Row, b: &Row) -> Ordering {
        let descending = self.number(b).total_cmp(&self.number(a));
        descending.then_with(|| by_number(&a.name).cmp(&by_number(&b.name)))
    }

    /// What is compared; below zero where it is not known.
    fn number(self, row: &Row) -> f64 {
        let bytes = |blocks: u32| f64::from(blocks) * f64::from(row.block_size);
        let number = match self {
            Self::Name => Some(0.0),
            Self::Held => Some(bytes(row.held)),
            Self::Wanted => row.wanted.map(bytes),
            Self::Hits => row.hit_ratio,
            Self::Reads => row.rates.map(|of| of.reads.requests),
            Self::Writes => row.rates.map(|of| of.writes.requests),
            Self::Bytes => row.rates.map(|of| of.reads.bytes + of.writes.bytes),
            Self::P99 => row
                .rates
                .and_then(|of| of.latency)
                .map(|of| of.p99_ns as f64),
        };
        number.unwrap_or(-1.0)
    }

    /// The key after this one.
    pub(super) fn next(self) -> Self {
        let all = Self::value_variants();
        all[(self as usize + 1) % all.len()]
    }

    /// Its name on the command line.
    pub(super) fn label(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What names are ordered by: `vm2` comes before `vm10`.
fn by_number(name: &str) -> (&str, usize, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name.len(), name)
}

/// A column.
pub(super) struct Column {
    title: &'static str,
    /// Characters.
    pub(super) width: u16,
    /// Text is aligned left, and numbers right.
    is_text: bool,
    /// Columns of a low rank stay on a narrow screen.
    rank: u8,
    pub(super) cell: fn(&Row) -> String,
}

const fn text(title: &'static str, width: u16, rank: u8, cell: fn(&Row) -> String) -> Column {
    Column {
        title,
        width,
        is_text: true,
        rank,
        cell,
    }
}

const fn number(title: &'static str, width: u16, rank: u8, cell: fn(&Row) -> String) -> Column {
    Column {
        is_text: false,
        ..text(title, width, rank, cell)
    }
}

/// All columns, from left to right.
const COLUMNS: [Column; 13] = [
    text("NAME", 16, 0, |row| row.name.clone()),
    text("GUEST", 10, 3, |row| row.guest.to_owned()),
    number("HELD", 9, 0, |row| size(row, row.held)),
    number("WANTED", 9, 1, |row| known(row.wanted, |of| size(row, of))),
    number("LIMIT", 9, 5, |row| size(row, row.limit)),
    number("HITS (%)", 8, 2, |row| {
        known(row.hit_ratio, |ratio| format!("{:.1}", 100.0 * ratio))
    }),
    number("READS/S", 8, 1, |row| {
        rate(row, |of| of.reads.requests.round())
    }),
    number("WRITES/S", 8, 1, |row| {
        rate(row, |of| of.writes.requests.round())
    }),
    number("R MB/S", 7, 6, |row| {
        known(row.rates, |of| megabytes(of.reads.bytes))
    }),
    number("W MB/S", 7, 6, |row| {
        known(row.rates, |of| megabytes(of.writes.bytes))
    }),
    number("P50 (us)", 8, 4, |row| latency(row, |of| of.p50_ns)),
    number("P99 (us)", 8, 2, |row| latency(row, |of| of.p99_ns)),
    text("RESIZE", 20, 3, |row| match &row.resize {
        Some(resize) => format!("{} to {}", resize.phase, size(row, resize.target)),
        None => "-".to_owned(),
    }),
];

/// Characters between two columns.
const SPACE: u16 = 1;

/// The columns that a line of so many characters has room for.
pub(super) fn fitting(width: u16) -> Vec<&'static Column> {
    let mut ranked: Vec<usize> = (0..COLUMNS.len()).collect();
    ranked.sort_by_key(|index| COLUMNS[*index].rank);
    let mut taken = 0;
    let fitting = ranked.into_iter().take_while(|index| {
        taken += COLUMNS[*index].width + SPACE;
        taken <= width + SPACE
    });
    let mut fitting: Vec<usize> = fitting.collect();
    fitting.sort_unstable();
    fitting.into_iter().map(|index| &COLUMNS[index]).collect()
}

fn known<T>(value: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), shown)
}

fn size(row: &Row, blocks: u32) -> String {
    ByteSize(u64::from(blocks) * u64::from(row.block_size)).rounded()
}

fn rate(row: &Row, of: fn(&Rates) -> f64) -> String {
    known(row.rates, |rates| of(&rates).to_string())
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

fn latency(row: &Row, of: fn(&Latency) -> u64) -> String {
    let latency = row.rates.and_then(|rates| rates.latency);
    known(latency, |latency| (of(&latency) / 1000).to_string())
}

/// The lines above the table: the pool, and the arbiter.
pub(super) fn heading(summary: &Summary) -> [String; 2] {
    let pool = &summary.pool;
    let bytes = |blocks: u32| ByteSize(u64::from(blocks) * u64::from(pool.block_size)).rounded();
    let connected = summary.vssds.iter().filter(|row| row.guest != "none");
    let uptime = Duration::from_secs(summary.uptime_ms / 1000);
    let pool = format!(
        "pool {}: {} of {} free; vSSDs: {}, connected: {}; up {}",
        summary.backing,
        bytes(pool.free),
        bytes(pool.physical_blocks),
        summary.vssds.len(),
        connected.count(),
        humantime::format_duration(uptime),
    );
    let arbiter = match &summary.arbiter {
        Some(arbiter) => format!(
            "arbiter: policy {}, period {}, pick {}; {} periods so far",
            arbiter.policy, arbiter.period, arbiter.pick, arbiter.periods
        ),
        None => "arbiter: off".to_owned(),
    };
    [pool, arbiter]
}

/// The last decisions of the arbiter, a line each.
pub(super) fn decisions(summary: &Summary) -> impl Iterator<Item = String> {
    summary.decisions.iter().map(arbiter::line)
}

/// All of it as text.
pub(super) fn text_of(summary: &Summary) -> String {
    let [pool, arbiter] = heading(summary);
    let all: Vec<&Column> = COLUMNS.iter().collect();
    let mut text = format!("{pool}\n{arbiter}\n{}\n", titles(&all));
    for row in &summary.vssds {
        let _ = writeln!(text, "{}", line(&all, |column| (column.cell)(row)));
    }
    if !summary.decisions.is_empty() {
        text.push_str("\nlast decisions:\n");
    }
    for decision in decisions(summary) {
        let _ = writeln!(text, "{decision}");
    }
    text
}

/// The line with the titles of these columns.
pub(super) fn titles(columns: &[&Column]) -> String {
    line(columns, |column| column.title.to_owned())
}

/// A line with a cell for each of these columns.
pub(super) fn line(columns: &[&Column], cell: impl Fn(&Column) -> String) -> String {
    let mut line = String::new();
    for column in columns {
        let (cell, width) = (cell(column), usize::from(column.width));
        let _ = match column.is_text {
            true => write!(line, "{cell:<width$} "),
            false => write!(line, "{cell:>width$} "),
        };
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{busy, sample};
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_vssd() {
        let text = text_of(&sample());
        let lines: Vec<_> = text.lines().collect();
        let wanted = [
            "pool ssd.img: 1GiB of 4GiB free; vSSDs: 3, connected: 2; up 1m 5s",
            "arbiter: policy mrc, period 10s, pick guest; 6 periods so far",
            "NAME             GUEST           HELD    WANTED     LIMIT HITS (%)  READS/S WRITES/S  \
             R MB/S  W MB/S P50 (us) P99 (us) RESIZE",
            "vm1              vssd            1GiB    1.5GiB      3GiB     25.0     1000      250     \
             4.1     1.0       50      401 moving to 1.5GiB",
            "vm2              plain           1GiB         -      3GiB        -        0        0     \
             0.0     0.0        -        - -",
            "vm3              none            1GiB         -      3GiB        -        -        -       \
             -       -        -        - -",
            "",
            "last decisions:",
            "3s ago: vm1: 262144 -> 393216 blocks (mrc: saves 20,000 misses a period)",
        ];
        assert_eq!(lines, wanted, "{text}");
    }

    #[test]
    fn columns_that_matter_most_stay_on_a_narrow_screen() {
        let titles = |width| -> Vec<&str> {
            let columns = fitting(width);
            columns.iter().map(|column| column.title).collect()
        };
        let all: u16 = COLUMNS.iter().map(|column| column.width + SPACE).sum();
        assert_eq!(titles(all - SPACE).len(), COLUMNS.len());
        assert_eq!(
            titles(80),
            [
                "NAME", "HELD", "WANTED", "HITS (%)", "READS/S", "WRITES/S", "P99 (us)"
            ]
        );
        assert_eq!(titles(16), ["NAME"]);
        assert_eq!(titles(0), [""; 0]);
        for width in 0..200 {
            let taken: u16 = fitting(width).iter().map(|of| of.width + SPACE).sum();
            assert!(taken <= width + SPACE, "{taken} of {width}");
        }
    }

    #[test]
    fn rows_are_ordered_by_name_or_a_number() {
        let mut rows = vec![busy("b", 10), busy("a", 10), busy("c", 20)];
        rows[2].rates = None;
        rows.push(busy("d", 30));
        let mut order = |key: SortKey| {
            rows.sort_by(|a, b| key.order(a, b));
            rows.iter().map(|row| row.name.clone()).collect::<String>()
        };
        assert_eq!(order(SortKey::Name), "abcd");
        assert_eq!(order(SortKey::Reads), "dabc");
        let mut key = SortKey::Name;
        for _ in SortKey::value_variants() {
            order(key);
            key = key.next();
        }
        assert_eq!((key, key.label().as_str()), (SortKey::Name, "name"));
        let mut names = ["vm10", "db", "vm2", "vm", "vm1"];
        names.sort_by_key(|name| by_number(name));
        assert_eq!(names, ["db", "vm", "vm1", "vm2", "vm10"]);
    }
}
