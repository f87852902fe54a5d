//! Claims of the direct-io experiment.

use results::verdict::{Source, Verdict};

use super::rows::DirectIoRow;

/// The share of the bytes moved that the page cache may keep of direct I/O.
const DIRECT_MOST: f64 = 0.01;

/// The share of the vSSD that it keeps of buffered I/O at least; otherwise
/// the instrument sees nothing.
const BUFFERED_LEAST: f64 = 0.5;

/// Judges the rows.
pub(crate) fn judge(rows: &[DirectIoRow]) -> Verdict {
    let mut verdict = Verdict {
        title: "What the page cache keeps".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: Vec::new(),
    };
    let of = |mode: &'static str| rows.iter().filter(move |row| row.mode == mode);
    let most = of("direct").map(|row| row.resident_bytes).max();
    // The least that was moved while any of it could be resident.
    let moved = of("direct")
        .map(|row| row.moved_bytes)
        .filter(|bytes| *bytes > 0)
        .min();
    let share = most
        .zip(moved)
        .map(|(most, moved)| most as f64 / moved as f64);
    verdict.claim(
        Source::Requirement,
        "Of what moves past the page cache, it keeps less than 1 %.",
        share.is_some_and(|share| share < DIRECT_MOST),
        share.map_or_else(not_measured, |share| {
            format!("{:.3} % of the bytes written, at most.", share * 100.0)
        }),
    );
    let end = of("buffered").find(|row| row.phase == "after");
    let share = end.map(|row| row.resident_bytes as f64 / row.vssd_bytes.max(1) as f64);
    verdict.claim(
        Source::Requirement,
        "With --buffered it keeps more than half of the vSSD, so the instrument sees what is there.",
        share.is_some_and(|share| share > BUFFERED_LEAST),
        share.map_or_else(not_measured, |share| format!("{:.1} %.", share * 100.0)),
    );
    verdict
}

fn not_measured() -> String {
    "It was not measured.".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mode: &str, resident_bytes: u64) -> DirectIoRow {
        DirectIoRow {
            mode: mode.to_owned(),
            phase: "after".to_owned(),
            at_ns: 1,
            resident_bytes,
            moved_bytes: 1000,
            vssd_bytes: 1000,
        }
    }

    #[test]
    fn either_side_can_miss() {
        let holds =
            |direct, buffered| judge(&[row("direct", direct), row("buffered", buffered)]).holds();
        assert!(holds(9, 501));
        assert!(!holds(10, 501) && !holds(9, 500));
        assert!(!judge(&[]).holds());
    }
}
