//! What the guest's knowledge is worth, by condition and value.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{BLUE, GREY, Mark, VERMILLION};
use results::stats::{Interval, Mean};

use super::rows::{Condition, KnowledgeRow};
use super::worth::{POINTS, TRAFFIC_PERCENT, Worth, crossover, most, worths};

/// A figure of all conditions and one for each; none without rows.
pub(crate) fn draw(rows: &[KnowledgeRow]) -> Result<Vec<Drawing>> {
    let worths = worths(rows);
    let each = worths
        .iter()
        .map(|(condition, worths)| of(*condition, worths));
    plot::draw(std::iter::once(all(&worths)).chain(each))
}

/// By condition, what the guest saves where it saves most, and from where on it pays.
fn all(worths: &[(Condition, Vec<Worth>)]) -> Plot {
    let saved = |of: fn(&Worth) -> &Mean| {
        let most = worths
            .iter()
            .enumerate()
            .filter_map(move |(row, (_, worths))| {
                let most = most(worths)?;
                Some((row as f64, *of(most)))
            });
        let mut series = Series::new("saved at the best value", (BLUE, Mark::Full));
        let mut marks = Vec::new();
        for (row, mean) in most {
            if let Some((low, high)) = mean.bounds {
                series = series.interval((low, row), (high, row));
            }
            marks.push((mean.value, row));
        }
        series.marks(marks)
    };
    let bar = |at: f64| Series::new("bar", (GREY, Mark::Hollow)).vertical(at);
    let names = worths.iter().map(|(condition, worths)| {
        let from = match crossover(worths) {
            Some(interval) if interval.value.is_finite() => from(&interval),
            _ => paying(worths),
        };
        format!("{condition}: {from}")
    });
    Plot::new(
        "knowledge_worth",
        "What the guest's knowledge is worth",
        Scale::linear("Saved by the guest's choice"),
        Scale::names("", names).without_grid(),
    )
    .subtitle("Each condition with the value from which on, or at which, the guest's choice pays")
    .caption(
        "What the best choice of the guest saves over the best of the host after a shrink, at the value of the \
         condition where it saves most, with its 95 % interval over the seeds. The grey lines are the bars: one point \
         of the accesses, by which all but `dirty` are judged, and 5 % of the traffic to the origin disk. Numbers in brackets are the 95 % interval of the \
         crossover.",
    )
    .panel("Misses (points of the accesses)", [bar(POINTS), saved(|of| &of.points)])
    .panel("Origin traffic (%)", [bar(TRAFFIC_PERCENT), saved(|of| &of.traffic)])
}

/// From which value on it pays, in short; there is one.
fn from(crossover: &Interval) -> String {
    let end = |value: f64| {
        if value.is_finite() {
            format!("{value} %")
        } else {
            "never".to_owned()
        }
    };
    match crossover.bounds {
        Some((low, high)) if low != high => {
            format!(
                "from {} [{}, {}]",
                end(crossover.value),
                end(low),
                end(high)
            )
        }
        _ => format!("from {}", end(crossover.value)),
    }
}

/// The values at which it pays, in short.
fn paying(worths: &[Worth]) -> String {
    let paying = worths.iter().filter(|worth| worth.pays());
    let values: Vec<&str> = paying.map(|worth| worth.value.as_str()).collect();
    let unit = match values.first() {
        None => return "never".to_owned(),
        Some(value) if value.parse::<f64>().is_ok() => " %",
        Some(_) => "",
    };
    format!("at {}{unit}", values.join(", "))
}

/// Misses of the best of each side, and beside them what the guest saves.
fn of(condition: Condition, worths: &[Worth]) -> Plot {
    let (stem, title) = match condition {
        Condition::Memory => ("knowledge_memory", "memory above the vSSD"),
        Condition::Policy => ("knowledge_policy", "the policy of its cache"),
        Condition::Files => ("knowledge_files", "temporary files"),
        Condition::FilesTold => ("knowledge_files_told", "temporary files, with DISCARD"),
        Condition::Death => ("knowledge_death", "deletion at once"),
        Condition::DeathTold => ("knowledge_death_told", "deletion at once, with DISCARD"),
        Condition::Scan => ("knowledge_scan", "an announced scan"),
        Condition::Phase => ("knowledge_phase", "an announced end of a part"),
        Condition::Pinned => ("knowledge_pinned", "announced blocks"),
        Condition::Dirty => ("knowledge_dirty", "dirty blocks"),
    };
    let title = format!("Worth of the guest's choice: {title}");
    let numbers: Option<Vec<f64>> = worths.iter().map(|of| of.value.parse().ok()).collect();
    let scale = match (&numbers, condition.unit()) {
        (Some(_), Some(unit)) => Scale::linear(unit),
        _ => Scale::names(
            "Eviction policy of the guest's cache",
            worths.iter().map(|of| of.value.clone()),
        ),
    };
    let places: Vec<f64> = match numbers {
        Some(numbers) => numbers,
        None => (0..worths.len()).map(|place| place as f64).collect(),
    };
    let means = |of: fn(&Worth) -> Mean| places.iter().copied().zip(worths.iter().map(of));
    let guest = Series::means(
        "best guest",
        (BLUE, Mark::Full),
        means(|of| of.misses.guest),
    );
    let host = Series::means(
        "best host",
        (VERMILLION, Mark::Full),
        means(|of| of.misses.host),
    );
    let points = Series::means("saved", (BLUE, Mark::Hollow), means(|of| of.points));
    let traffic = Series::means("saved", (BLUE, Mark::Hollow), means(|of| of.traffic));
    let bar = |at: f64| Series::new("bar", (GREY, Mark::Hollow)).horizontal(at);
    Plot::new(stem, title, scale, Scale::linear("Misses (% of the accesses)"))
        .caption(
            "After a shrink, of the best way to pick of each side, chosen with other seeds. What the guest saves is \
             the difference by seed. Means with 95 % intervals; the bars are one point and 5 %.",
        )
        .panel("", [guest, host])
        .panel_over(Scale::linear("Saved (points)"), [points, bar(POINTS)])
        .panel_over(
            Scale::linear("Saved of the origin traffic (%)"),
            [traffic, bar(TRAFFIC_PERCENT)],
        )
}
