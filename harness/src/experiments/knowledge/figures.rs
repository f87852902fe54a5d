//! What the guest's knowledge is worth, by condition and value.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{BLUE, GREY, Mark, VERMILLION};
use results::stats::{Interval, Mean};

use super::rows::{Condition, KnowledgeRow};
use super::worth::{Measure, OfCondition, Worth, crossover, most, worths};

/// A figure of all conditions and one for each; none without rows.
pub(crate) fn draw(rows: &[KnowledgeRow]) -> Result<Vec<Drawing>> {
    let worths = worths(rows);
    let each = worths.iter().map(of);
    plot::draw(std::iter::once(all(&worths)).chain(each))
}

/// By condition, what the guest saves where it saves most, and from where on it pays.
fn all(worths: &[OfCondition]) -> Plot {
    let saved = |measure: Measure| {
        let most = worths.iter().enumerate().filter_map(move |(row, of)| {
            let most = most(of.by(measure))?;
            Some((row as f64, *most.saved()))
        });
        Series::means_across("saved at the best value", (BLUE, Mark::Full), most)
    };
    let panel = |measure: Measure| {
        let bar = Series::new("bar", (GREY, Mark::Hollow)).vertical(measure.bar());
        [bar, saved(measure)]
    };
    let names = worths.iter().map(|of| {
        let [misses, traffic] = Measure::ALL.map(|measure| pays(of.by(measure)));
        if misses == traffic {
            format!("{}: {misses}", of.condition)
        } else {
            format!("{}: {misses}; {traffic}", of.condition)
        }
    });
    Plot::new(
        "knowledge_worth",
        "What the guest's knowledge is worth",
        Scale::linear("Saved"),
        Scale::names("", names).without_grid(),
    )
    .subtitle(
        "Each condition with the value from which on, or at which, the guest's choice pays: by misses; by traffic",
    )
    .caption(
        "What the best choice of the guest saves over the best of the host after a shrink, at the value of the \
         condition where it saves most, with its 95 % interval over the seeds. The best of each side are chosen by \
         misses on the left, by origin traffic on the right. The grey lines are the bars: one point of the accesses, \
         and 5 % of the traffic to the origin disk. Numbers in brackets are the 95 % interval of the crossover.",
    )
    .panel("Misses (points of the accesses)", panel(Measure::Misses))
    .panel("Origin traffic (%)", panel(Measure::Traffic))
}

/// From which value on it pays by a measure, in short, or at which.
fn pays(worths: &[Worth]) -> String {
    match crossover(worths) {
        Some(interval) if interval.value.is_finite() => from(&interval),
        _ => paying(worths),
    }
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
fn of(of: &OfCondition) -> Plot {
    let OfCondition {
        condition,
        misses,
        traffic,
    } = of;
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
    let numbers: Option<Vec<f64>> = misses.iter().map(|of| of.value.parse().ok()).collect();
    let scale = match (&numbers, condition.unit()) {
        (Some(_), Some(unit)) => Scale::linear(unit),
        _ => Scale::names(
            "Eviction policy of the guest's cache",
            misses.iter().map(|of| of.value.clone()),
        ),
    };
    let places: Vec<f64> = match numbers {
        Some(numbers) => numbers,
        None => (0..misses.len()).map(|place| place as f64).collect(),
    };
    let means = |worths: &[Worth], of: fn(&Worth) -> Mean| -> Vec<(f64, Mean)> {
        places.iter().copied().zip(worths.iter().map(of)).collect()
    };
    let guest = Series::means(
        "best guest",
        (BLUE, Mark::Full),
        means(misses, |of| of.misses.guest),
    );
    let host = Series::means(
        "best host",
        (VERMILLION, Mark::Full),
        means(misses, |of| of.misses.host),
    );
    let saved = |worths| {
        let saved = means(worths, |of| *of.saved());
        Series::means("saved", (BLUE, Mark::Hollow), saved)
    };
    let bar = |measure: Measure| Series::new("bar", (GREY, Mark::Hollow)).horizontal(measure.bar());
    Plot::new(stem, title, scale, Scale::linear("Misses (% of the accesses)"))
        .caption(
            "After a shrink, of the best way to pick of each side, chosen with other seeds: by misses above and in the \
             middle, by origin traffic below. What the guest saves is the difference by seed. Means with 95 % \
             intervals; the bars are one point and 5 %.",
        )
        .panel("", [guest, host])
        .panel_over(Scale::linear("Saved (points)"), [saved(misses), bar(Measure::Misses)])
        .panel_over(
            Scale::linear("Saved of the origin traffic (%)"),
            [saved(traffic), bar(Measure::Traffic)],
        )
}
