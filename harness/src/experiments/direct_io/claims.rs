//! Claims of the direct-io experiment.

use results::verdict::{Measured, Verdict};

use super::rows::DirectIoRow;

/// Bar for direct I/O: cached bytes over written bytes.
const DIRECT_MOST: f64 = 0.01;

/// Bar for buffered I/O: cached bytes over bytes of the vSSD. Below it the measurement misses cached data.
const BUFFERED_LEAST: f64 = 0.5;

/// Judges the rows.
pub(crate) fn judge(rows: &[DirectIoRow]) -> Verdict {
    Verdict::new("What the page cache keeps")
        .require(
            "With direct I/O the page cache keeps less than 1 % of the bytes written.",
            direct(rows),
        )
        .require(
            "With --buffered it keeps more than half of the vSSD, so the measurement detects cached data.",
            buffered(rows),
        )
}

fn direct(rows: &[DirectIoRow]) -> Option<Measured> {
    let of = || rows.iter().filter(|row| row.mode == "direct");
    let most = of().map(|row| row.resident_bytes).max()?;
    // The fill alone: the fewest bytes moved while any could be cached.
    let moved = of().map(|row| row.moved_bytes).filter(|bytes| *bytes > 0);
    let share = most as f64 / moved.min()? as f64;
    let evidence = format!("At most {:.3} % of the bytes written.", share * 100.0);
    Some(Measured::new(share < DIRECT_MOST, evidence))
}

fn buffered(rows: &[DirectIoRow]) -> Option<Measured> {
    let mut rows = rows.iter();
    let end = rows.find(|row| row.mode == "buffered" && row.phase == "after")?;
    let share = end.resident_bytes as f64 / end.vssd_bytes.max(1) as f64;
    let evidence = format!("{:.1} %.", share * 100.0);
    Some(Measured::new(share > BUFFERED_LEAST, evidence))
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
