//! Merging of shards.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::sweep::merge::{Merged, merge};

/// A complete sweep in `of` shards.
fn shards(of: u32) -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let parts = (1..=of).map(|index| {
        let path = folder.path().join(format!("part{index}"));
        run(&path, shard(&format!("{index}/{of}")));
        path
    });
    let parts = parts.collect();
    (folder, parts)
}

#[test]
fn merged_shards_equal_the_whole_sweep_byte_for_byte() {
    let (_, expected) = whole();
    for of in [1, 2, 3, 5, 12, 15] {
        let (folder, mut parts) = shards(of);
        // In another order, and one of them twice.
        parts.reverse();
        parts.push(parts[0].clone());
        let out = folder.path().join("whole");
        let merged = merge(&out, &parts).unwrap();
        assert_eq!(merged.missing, [] as [String; 0]);
        assert_eq!(csv(&out), expected, "{of} shards");
        assert_eq!(SweepManifest::read(&out).unwrap().status, State::Complete);
        // Again, into the same folder.
        merge(&out, &parts).unwrap();
        assert_eq!(csv(&out), expected);
    }
}

fn merge_error(out: &Path, parts: &[PathBuf]) -> String {
    format!("{:#}", merge(out, parts).unwrap_err())
}

#[test]
fn parts_of_different_sweeps_are_rejected() {
    let (folder, parts) = shards(2);
    let out = folder.path().join("whole");
    let manifest = SweepManifest::read(&parts[1]).unwrap();
    type Change = fn(&mut SweepManifest);
    let changes: [(Change, &str); 6] = [
        (|m| m.plan.seed = 9, "`seed` is 5 in the first, 9"),
        (
            |m| m.plan.title = "else".into(),
            "`title` is a test in the first, else",
        ),
        (
            |m| m.plan.axes[0].values.reverse(),
            "`sd` is [1, 2, 3] in the first, [3, 2, 1]",
        ),
        (
            |m| {
                m.plan.parameters.insert("reads".into(), 7.into());
            },
            "`reads` is 100 in the first, 7",
        ),
        (|m| m.harness_version = "0.0.1".into(), "`harness_version`"),
        (
            |m| m.shard = shard("2/3"),
            "`number of shards` is 2 in the first, 3",
        ),
    ];
    for (change, word) in changes {
        let mut changed = manifest.clone();
        change(&mut changed);
        changed.write(&parts[1]).unwrap();
        let error = merge_error(&out, &parts);
        assert!(error.contains(word) && error.contains("part2"), "{error}");
        assert!(!out.exists());
    }
    let error = merge_error(&out, &[folder.path().join("nowhere")]);
    assert!(error.contains("not the folder of a sweep"), "{error}");
}

#[test]
fn parts_that_contradict_each_other_are_rejected() {
    let (folder, mut parts) = shards(2);
    let other = folder.path().join("again");
    run(&other, shard("1/2"));
    let table = csv(&other);
    let second = table.lines().nth(1).unwrap();
    let head = second.rsplitn(4, ',').last().unwrap();
    fs::write(
        other.join(ROWS),
        table.replace(second, &format!("{head},100,0,100")),
    )
    .unwrap();
    parts.push(other);
    let out = folder.path().join("whole");
    let error = merge_error(&out, &parts);
    assert!(
        error.contains("part1 and ") && error.contains("again have different rows for cell 0"),
        "{error}"
    );
    // So are parts that contradict an earlier merge.
    merge(&out, &parts[..2]).unwrap();
    let kept = csv(&out);
    let error = merge_error(&out, &parts[2..]);
    assert!(error.contains("whole and "), "{error}");
    assert_eq!(csv(&out), kept);
    assert_eq!(SweepManifest::read(&out).unwrap().status, State::Complete);
}

#[test]
fn missing_and_damaged_cells_are_reported_and_can_be_added() {
    let (folder, parts) = shards(3);
    let out = folder.path().join("whole");
    let table = csv(&parts[1]);
    let third = table.lines().nth(3).unwrap();
    fs::write(parts[1].join(ROWS), table.replace(third, &third[..8])).unwrap();
    let Merged {
        counts,
        damage,
        missing,
        ..
    } = merge(&out, &parts[..2]).unwrap();
    assert_eq!(
        missing,
        [
            "shard 2/3: 1 cells missing: 4",
            "shard 3/3: 4 cells missing: 2, 5, 8, 11"
        ]
    );
    assert_eq!((counts.done, counts.missing()), (7, 5));
    let lines: BTreeSet<usize> = damage.iter().map(|damage| damage.line).collect();
    assert_eq!(lines, BTreeSet::from([4, 5]), "{damage:?}");
    let status = SweepManifest::read(&out).unwrap().status;
    assert!(matches!(status, State::Failed(reason) if reason.contains("shard 3/3")));
    // Resuming the damaged shard completes the merge.
    assert_eq!(run(&parts[1], shard("2/3")), 1);
    merge(&out, &parts[1..]).unwrap();
    let (_, expected) = whole();
    assert_eq!(csv(&out), expected);
}

#[test]
fn an_incomplete_merge_can_be_resumed() {
    let (folder, parts) = shards(3);
    let out = folder.path().join("whole");
    merge(&out, &parts[..2]).unwrap();
    assert_eq!(run(&out, Shard::WHOLE), 4);
    let (_, expected) = whole();
    assert_eq!(csv(&out), expected);
}

#[test]
fn failures_are_merged_and_do_not_count_as_missing() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake {
        impossible_sd: Some(3),
        ..Fake::default()
    };
    let parts: Vec<PathBuf> = ["1/2", "2/2"]
        .map(|part| {
            let path = folder.path().join(part.replace('/', "-"));
            run_with(&path, shard(part), 1, &fake);
            path
        })
        .to_vec();
    let out = folder.path().join("whole");
    let merged = merge(&out, &parts).unwrap();
    assert_eq!(merged.missing, [] as [String; 0]);
    assert_eq!((merged.counts.done, merged.counts.failed), (8, 4));
    let whole = folder.path().join("unsharded");
    run_with(&whole, Shard::WHOLE, 2, &fake);
    for file in [ROWS, "failures.csv"] {
        let read = |path: &Path| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(read(&out), read(&whole));
    }
}

#[test]
fn rows_of_different_revisions_give_a_warning() {
    let (folder, parts) = shards(2);
    for (part, revision) in parts.iter().zip(["aaa", "bbb"]) {
        let mut manifest = SweepManifest::read(part).unwrap();
        manifest.add_this_maker();
        manifest.made_by[0].git_revision = revision.to_owned();
        manifest.write(part).unwrap();
    }
    let warning = |out: &str, parts: &[PathBuf]| {
        let merged = merge(&folder.path().join(out), parts).unwrap();
        merged.mixed_revisions
    };
    assert_eq!(warning("one", &parts[..1]), None);
    let warning = warning("both", &parts).unwrap();
    assert!(warning.contains("aaa, bbb"), "{warning}");
}
