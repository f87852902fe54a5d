//! Claims of the media experiment.

use results::quantity;
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict, distinct};

use super::rows::{MediaRow, MediaWearRow};

/// Bar for the median: factor over model plus path,
const TOLERANCE: f64 = 1.25;

/// or nanoseconds over it, as a timer ends the delay of a request.
const TIMER_NS: u64 = 250_000;

/// A medium is the bottleneck if the path alone serves this many times its rate.
const BOTTLENECK: f64 = 10.0;

/// Bar for the relative error of the rate at high depth.
const RATE_TOLERANCE: f64 = 0.25;

/// Bar for the relative error of write amplification.
const WEAR_TOLERANCE: f64 = 0.1;

/// The medium without a model.
pub(crate) const NONE: &str = "none";

/// The rows, looked up by load.
pub(crate) struct Rows<'a>(pub &'a [MediaRow]);

impl<'a> Rows<'a> {
    /// The row of a load; `deep` is any depth above 1.
    pub(crate) fn find(
        &self,
        medium: &str,
        side: &str,
        op: &str,
        deep: bool,
    ) -> Option<&'a MediaRow> {
        self.0.iter().find(|row| {
            row.medium == medium && row.side == side && row.op == op && (row.depth > 1) == deep
        })
    }

    /// Names of the media with a model, in the order of measurement.
    pub(crate) fn media(&self) -> Vec<&'a str> {
        let media = self.0.iter().map(|row| row.medium.as_str());
        distinct(media.filter(|medium| *medium != NONE))
    }

    /// Each measured row with the model's for the same load.
    fn pairs(&self) -> Vec<Pair<'a>> {
        let measured = self.0.iter().filter(|row| row.side != "model");
        let pair = |row: &'a MediaRow| {
            Some((
                row,
                self.find(&row.medium, "model", &row.op, row.depth > 1)?,
            ))
        };
        measured.filter_map(pair).collect()
    }

    /// The row of the same load without a model: the path to the medium.
    fn path(&self, row: &MediaRow) -> Option<&'a MediaRow> {
        self.find(NONE, &row.side, &row.op, row.depth > 1)
    }
}

/// A measured row and the model's.
type Pair<'a> = (&'a MediaRow, &'a MediaRow);

/// Judges the rows.
pub(crate) fn judge(rows: &[MediaRow], wear: &[MediaWearRow]) -> Verdict {
    let rows = Rows(rows);
    let pairs = rows.pairs();
    Verdict::new("Emulated media")
        .require(
            "No request of client or guest completes sooner than its model predicts.",
            never_sooner(&rows, &pairs),
        )
        .require(
            "Where a medium is slower than the path to it, the median exceeds model plus path by at most a quarter, \
             or by 0.25 ms for the timer and a busy processor.",
            no_later(&rows, &pairs),
        )
        .require(
            "With many requests in flight, a medium that is the bottleneck serves the rate of its model, within a \
             quarter.",
            rates(&rows, &pairs),
        )
        .require(
            "Wear counts every byte that client and guest wrote.",
            Measured::every(wear, "media", |row| {
                row.host_bytes == row.sent_bytes && row.media_bytes >= row.host_bytes
            }),
        )
        .require(
            "Write amplification of overwritten flash is that of its model under the same writes on a virtual clock, \
             within a tenth.",
            amplification(wear),
        )
        .findings(faster_than_the_path(&rows))
        .tables([latency_table(&rows), wear_table(wear)])
}

fn never_sooner(rows: &Rows<'_>, pairs: &[Pair<'_>]) -> Option<Measured> {
    // The lower bound is a single request on an idle medium.
    let is_sooner = |row: &MediaRow| {
        let alone = rows.find(&row.medium, "model", &row.op, false);
        alone.is_some_and(|alone| row.min_ns < alone.min_ns)
    };
    let sooner = pairs.iter().filter(|(row, _)| is_sooner(row)).count();
    let requests: u64 = pairs.iter().map(|(row, _)| row.requests).sum();
    let evidence = format!(
        "In {sooner} of {} loads; {requests} requests in total.",
        pairs.len()
    );
    (!pairs.is_empty()).then(|| Measured::new(sooner == 0, evidence))
}

fn no_later(rows: &Rows<'_>, pairs: &[Pair<'_>]) -> Option<Measured> {
    let excess = |(row, model): &Pair<'_>| {
        let path = rows.path(row).filter(|_| row.depth == 1)?;
        let both = (model.p50_ns + path.p50_ns) as f64;
        let most = (both * TOLERANCE).max(both + TIMER_NS as f64);
        let p50 = row.p50_ns as f64;
        (model.p50_ns > path.p50_ns).then_some((p50 - both, p50 <= most))
    };
    let excesses: Vec<(f64, bool)> = pairs.iter().filter_map(excess).collect();
    let most = excesses.iter().map(|(ns, _)| *ns).fold(0.0, f64::max);
    let evidence = format!(
        "At most {} over, in {} loads.",
        quantity::time(most),
        excesses.len()
    );
    let holds = excesses.iter().all(|(_, holds)| *holds);
    (!excesses.is_empty()).then(|| Measured::new(holds, evidence))
}

fn rates(rows: &Rows<'_>, pairs: &[Pair<'_>]) -> Option<Measured> {
    let ratio = |(row, model): &Pair<'_>| {
        let path = rows.path(row).filter(|_| row.depth > 1)?;
        (model.iops() < path.iops() / BOTTLENECK).then(|| row.iops() / model.iops())
    };
    let ratios: Vec<f64> = pairs.iter().filter_map(ratio).collect();
    let most = ratios
        .iter()
        .map(|ratio| (ratio - 1.0).abs())
        .reduce(f64::max)?;
    let texts: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}x")).collect();
    let evidence = format!("{} the model's rate.", texts.join(", "));
    Some(Measured::new(most <= RATE_TOLERANCE, evidence))
}

fn amplification(wear: &[MediaWearRow]) -> Option<Measured> {
    let error =
        |row: &MediaWearRow| (row.write_amplification / row.model_write_amplification - 1.0).abs();
    let errors = wear.iter().filter(|row| row.erases > 0).map(error);
    let most = errors.reduce(f64::max)?;
    let evidence = format!("{:.1} % off.", most * 100.0);
    Some(Measured::new(most <= WEAR_TOLERANCE, evidence))
}

/// The media that are faster than the path to them.
fn faster_than_the_path(rows: &Rows<'_>) -> Option<String> {
    let path = rows.find(NONE, "guest", "read", false)?;
    let mut media = rows.media();
    media.retain(|medium| {
        let model = rows.find(medium, "model", "read", false);
        model.is_some_and(|model| model.p50_ns < path.p50_ns)
    });
    (!media.is_empty()).then(|| {
        format!(
            "A guest's read takes {} on the path alone. The models of {} are faster than that, so their times are \
             those of the path.",
            quantity::time(path.p50_ns as f64),
            media.join(", ")
        )
    })
}

fn latency_table(rows: &Rows<'_>) -> Table {
    let media = [NONE].into_iter().chain(rows.media());
    let time = |(medium, op): &(&str, &str), side: &str| {
        let row = rows.find(medium, side, op, false);
        or_dash(row, |row| quantity::time(row.p50_ns as f64))
    };
    let rate = |(medium, op): &(&str, &str), side: &str| {
        let row = rows.find(medium, side, op, true);
        or_dash(row, |row| format!("{:.0}", row.iops()))
    };
    Table::of(
        "Median time of a request, and requests a second",
        media.flat_map(|medium| [(medium, "read"), (medium, "write")]),
        &[
            ("medium", &|(medium, _)| (*medium).to_owned()),
            ("op", &|(_, op)| (*op).to_owned()),
            ("model, depth 1", &|load| time(load, "model")),
            ("client, depth 1", &|load| time(load, "client")),
            ("guest, depth 1", &|load| time(load, "guest")),
            ("model, many in flight (1/s)", &|load| rate(load, "model")),
            ("client, many in flight (1/s)", &|load| rate(load, "client")),
        ],
    )
}

fn wear_table(wear: &[MediaWearRow]) -> Table {
    Table::of(
        "Wear",
        wear,
        &[
            ("medium", &|row| row.medium.clone()),
            ("written by requests", &|row| {
                quantity::bytes(row.host_bytes as f64)
            }),
            ("written by the medium", &|row| {
                quantity::bytes(row.media_bytes as f64)
            }),
            ("write amplification", &|row| {
                format!("{:.2}", row.write_amplification)
            }),
            ("erases", &|row| row.erases.to_string()),
            ("cycles, max", &|row| format!("{:.1}", row.cycles_max)),
            ("cycles, mean", &|row| format!("{:.1}", row.cycles_mean)),
            ("rated cycles", &|row| {
                or_dash(row.cycles_limit, |limit| limit.to_string())
            }),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<MediaRow> {
        let row = |medium: &str, side: &str, depth, min_ns| MediaRow {
            medium: medium.to_owned(),
            side: side.to_owned(),
            op: "write".to_owned(),
            depth,
            requests: 100,
            elapsed_ns: min_ns * 100,
            min_ns,
            p50_ns: min_ns,
            p99_ns: min_ns,
        };
        vec![
            row(NONE, "client", 1, 40_000),
            row(NONE, "client", 16, 10_000),
            row("hdd", "model", 1, 5_000_000),
            row("hdd", "model", 16, 5_000_000),
            row("hdd", "client", 1, 5_040_000),
            row("hdd", "client", 16, 5_010_000),
        ]
    }

    fn wear(host_bytes: u64) -> MediaWearRow {
        MediaWearRow {
            medium: "slc-flash".to_owned(),
            sent_bytes: 4096,
            host_bytes,
            media_bytes: 2 * host_bytes,
            write_amplification: 2.0,
            model_write_amplification: 1.9,
            erases: 1,
            cycles_max: 1.0,
            cycles_mean: 0.5,
            cycles_limit: Some(10_000),
        }
    }

    #[test]
    fn each_claim_can_miss() {
        let good = judge(&rows(), &[wear(4096)]);
        assert!(good.holds(), "{good:?}");
        type Spoil = fn(&mut Vec<MediaRow>, &mut MediaWearRow);
        let spoils: [Spoil; 5] = [
            |rows, _| rows[4].min_ns = 4_999_999,
            |rows, _| rows[4].p50_ns = 7_000_000,
            |rows, _| rows[5].elapsed_ns *= 2,
            |_, wear| wear.host_bytes -= 1,
            |_, wear| wear.write_amplification = 2.2,
        ];
        for (number, spoil) in spoils.into_iter().enumerate() {
            let (mut rows, mut wear) = (rows(), wear(4096));
            spoil(&mut rows, &mut wear);
            let missed = judge(&rows, &[wear]).claims;
            let missed = missed.iter().filter(|claim| !claim.holds()).count();
            assert_eq!(missed, 1, "spoil {number}");
        }
        assert!(!judge(&[], &[]).holds());
    }
}
