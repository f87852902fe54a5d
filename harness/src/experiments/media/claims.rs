//! Claims of the media experiment.

use results::chart::scale;
use results::verdict::{Source, Table, Verdict};

use super::rows::{MediaRow, MediaWearRow};

/// How much longer than the model and the way there together a request may take,
const TOLERANCE: f64 = 1.25;

/// or how many nanoseconds longer: it is held back by a timer, and woken by it.
const TIMER_NS: u64 = 250_000;

/// So many times the rate of a medium that is the bottleneck is served without one.
const BOTTLENECK: f64 = 10.0;

/// By what share the rate of many requests may miss the model's.
const RATE_TOLERANCE: f64 = 0.25;

/// By what share write amplification may miss the model's.
const WEAR_TOLERANCE: f64 = 0.1;

/// The medium without a model.
pub(crate) const NONE: &str = "none";

/// The rows, found by what they are about.
pub(crate) struct Rows<'a>(pub &'a [MediaRow]);

impl Rows<'_> {
    /// One of them.
    pub(crate) fn find(&self, medium: &str, side: &str, op: &str, deep: bool) -> Option<&MediaRow> {
        self.0.iter().find(|row| {
            row.medium == medium && row.side == side && row.op == op && (row.depth > 1) == deep
        })
    }

    /// Names of the media that have a model, in the order in which they were measured.
    pub(crate) fn media(&self) -> Vec<&str> {
        let mut media = Vec::new();
        for row in self.0.iter().filter(|row| row.medium != NONE) {
            if !media.contains(&row.medium.as_str()) {
                media.push(row.medium.as_str());
            }
        }
        media
    }
}

/// A row of somebody who measured, with the model's for the same load.
type Pair<'a> = (&'a MediaRow, &'a MediaRow);

/// Judges the rows.
pub(crate) fn judge(rows: &[MediaRow], wear: &[MediaWearRow]) -> Verdict {
    let mut verdict = Verdict {
        title: "Media that are not there".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![latency_table(&Rows(rows)), wear_table(wear)],
    };
    let rows = Rows(rows);
    let measured = rows.0.iter().filter(|row| row.side != "model");
    let pairs: Vec<Pair<'_>> = measured
        .filter_map(|row| {
            let model = rows.find(&row.medium, "model", &row.op, row.depth > 1)?;
            Some((row, model))
        })
        .collect();
    never_sooner(&mut verdict, &rows, &pairs);
    no_later(&mut verdict, &rows, &pairs);
    parallelism(&mut verdict, &rows, &pairs);
    wear_claims(&mut verdict, wear);
    floor_finding(&mut verdict, &rows);
    verdict
}

fn never_sooner(verdict: &mut Verdict, rows: &Rows<'_>, pairs: &[Pair<'_>]) {
    // One request on a medium that does nothing else is the soonest there is.
    let soonest = |row: &MediaRow| {
        let alone = rows.find(&row.medium, "model", &row.op, false);
        alone.map_or(0, |row| row.min_ns)
    };
    let sooner = pairs
        .iter()
        .filter(|(row, _)| row.min_ns < soonest(row))
        .count();
    let requests: u64 = pairs.iter().map(|(row, _)| row.requests).sum();
    verdict.claim(
        Source::Requirement,
        "No request, of the client or of the guest, ends sooner than the model has it.",
        !pairs.is_empty() && sooner == 0,
        format!(
            "{sooner} of {} loads had one that did; {requests} requests in all.",
            pairs.len()
        ),
    );
}

/// What the way to the medium takes alone, for the same load.
fn floor<'a>(rows: &'a Rows<'_>, row: &MediaRow) -> Option<&'a MediaRow> {
    rows.find(NONE, &row.side, &row.op, row.depth > 1)
}

fn no_later(verdict: &mut Verdict, rows: &Rows<'_>, pairs: &[Pair<'_>]) {
    let off = |(row, model): &Pair<'_>| {
        let way = floor(rows, row).filter(|_| row.depth == 1)?;
        let both = model.p50_ns + way.p50_ns;
        let most = (both as f64 * TOLERANCE).max((both + TIMER_NS) as f64);
        (model.p50_ns > way.p50_ns)
            .then_some((row.p50_ns as f64 - both as f64, row.p50_ns as f64 <= most))
    };
    let offs: Vec<(f64, bool)> = pairs.iter().filter_map(off).collect();
    let most = offs.iter().map(|(off, _)| *off).fold(0.0, f64::max);
    verdict.claim(
        Source::Requirement,
        "Where a medium is slower than the way to it, half of the requests take no longer than model and way together, and a quarter of that or 0.25 ms for the timer that ends them and for a processor that is busy.",
        !offs.is_empty() && offs.iter().all(|(_, holds)| *holds),
        format!("At most {} more, of {} loads.", scale::time(most), offs.len()),
    );
}

fn parallelism(verdict: &mut Verdict, rows: &Rows<'_>, pairs: &[Pair<'_>]) {
    let ratio = |(row, model): &Pair<'_>| {
        let way = floor(rows, row).filter(|_| row.depth > 1)?;
        (model.iops() < way.iops() / BOTTLENECK).then(|| row.iops() / model.iops())
    };
    let ratios: Vec<f64> = pairs.iter().filter_map(ratio).collect();
    let off = ratios.iter().map(|ratio| (ratio - 1.0).abs());
    let most = off.fold(0.0, f64::max);
    verdict.claim(
        Source::Requirement,
        "With many requests under way, a medium that is the bottleneck serves as many a second as its model, within a quarter.",
        !ratios.is_empty() && most <= RATE_TOLERANCE,
        format!(
            "{} times the model's rate.",
            ratios.iter().map(|r| format!("{r:.2}")).collect::<Vec<_>>().join(", ")
        ),
    );
}

fn wear_claims(verdict: &mut Verdict, wear: &[MediaWearRow]) {
    let counted = wear
        .iter()
        .filter(|row| row.host_bytes == row.sent_bytes && row.media_bytes >= row.host_bytes)
        .count();
    verdict.claim(
        Source::Requirement,
        "Wear counts every byte that client and guest wrote.",
        !wear.is_empty() && counted == wear.len(),
        format!("On {counted} of {} media.", wear.len()),
    );
    let erased = wear.iter().filter(|row| row.erases > 0);
    let off = |row: &MediaWearRow| row.write_amplification / row.model_write_amplification - 1.0;
    let ratios: Vec<f64> = erased.map(off).collect();
    let most = ratios.iter().map(|off| off.abs()).fold(0.0, f64::max);
    verdict.claim(
        Source::Requirement,
        "Flash that is written over copies as much as its model does, written in the same manner on a virtual clock, within a tenth.",
        !ratios.is_empty() && most <= WEAR_TOLERANCE,
        format!("{:.1} % off.", most * 100.0),
    );
}

fn floor_finding(verdict: &mut Verdict, rows: &Rows<'_>) {
    let faster = |medium: &&&str| {
        let model = rows.find(medium, "model", "read", false);
        let way = rows.find(NONE, "guest", "read", false);
        model
            .zip(way)
            .is_some_and(|(model, way)| model.p50_ns < way.p50_ns)
    };
    let media = rows.media();
    let names: Vec<&str> = media.iter().filter(faster).copied().collect();
    if let Some(way) = rows.find(NONE, "guest", "read", false)
        && !names.is_empty()
    {
        verdict.findings.push(format!(
            "For reads of a guest the way to the medium takes {} by itself. {} answer sooner than that, so their times are those of the way.",
            scale::time(way.p50_ns as f64),
            names.join(", ")
        ));
    }
}

fn latency_table(rows: &Rows<'_>) -> Table {
    let head = [
        "medium",
        "op",
        "model, one at a time",
        "client",
        "guest",
        "model, many at a time (1/s)",
        "client (1/s)",
    ];
    let time = |row: Option<&MediaRow>| {
        row.map_or_else(|| "-".to_owned(), |row| scale::time(row.p50_ns as f64))
    };
    let rate = |row: Option<&MediaRow>| {
        row.map_or_else(|| "-".to_owned(), |row| format!("{:.0}", row.iops()))
    };
    let media = [NONE].into_iter().chain(rows.media());
    let lines = media.flat_map(|medium| ["read", "write"].map(|op| (medium, op)));
    Table {
        title: "Half of the requests take no longer, and how many end in a second".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: lines
            .map(|(medium, op)| {
                vec![
                    medium.to_owned(),
                    op.to_owned(),
                    time(rows.find(medium, "model", op, false)),
                    time(rows.find(medium, "client", op, false)),
                    time(rows.find(medium, "guest", op, false)),
                    rate(rows.find(medium, "model", op, true)),
                    rate(rows.find(medium, "client", op, true)),
                ]
            })
            .collect(),
    }
}

fn wear_table(wear: &[MediaWearRow]) -> Table {
    let head = [
        "medium",
        "written by requests",
        "written by the medium",
        "write amplification",
        "erases",
        "cycles, most",
        "cycles, mean",
        "wears out from",
    ];
    Table {
        title: "Wear".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: wear
            .iter()
            .map(|row| {
                vec![
                    row.medium.clone(),
                    scale::bytes(row.host_bytes as f64),
                    scale::bytes(row.media_bytes as f64),
                    format!("{:.2}", row.write_amplification),
                    row.erases.to_string(),
                    format!("{:.1}", row.cycles_max),
                    format!("{:.1}", row.cycles_mean),
                    row.cycles_limit
                        .map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
                ]
            })
            .collect(),
    }
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
