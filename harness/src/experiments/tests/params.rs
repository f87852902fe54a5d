//! Parameters of all experiments, right and wrong.

use anyhow::Result;

use crate::experiments::common::params::{Form, Overrides, resolve};
use crate::experiments::{ALL, by_name};

#[test]
fn the_defaults_of_every_experiment_are_sound() {
    for experiment in ALL {
        for form in [None, Some(Form::Full), Some(Form::Grid), Some(Form::Crowd)] {
            let overrides = Overrides {
                form,
                ..Overrides::default()
            };
            let is_there =
                matches!(form, None | Some(Form::Full)) || experiment.name() == "multiplex";
            match resolve(experiment.defaults(), &overrides) {
                Ok(table) => experiment.check(&table).unwrap(),
                Err(error) => {
                    assert!(!is_there, "{}: {error}", experiment.name());
                    assert!(error.to_string().contains("has no form `"), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_set_leads_into_a_table() {
    let sets = ["qemu.vms=[3]".to_owned(), "qemu.seeds=7".to_owned()];
    let overrides = Overrides {
        form: Some(Form::Full),
        sets: &sets,
        ..Overrides::default()
    };
    let table = resolve(
        "[qemu]\nvms = [1]\nseeds = 1\nperiods = 9\n[full.qemu]\nperiods = 8",
        &overrides,
    )
    .unwrap();
    let expected: toml::Table = "[qemu]\nvms = [3]\nseeds = 7\nperiods = 8".parse().unwrap();
    assert_eq!(table, expected);
}

fn check(experiment: &str, set: &str) -> Result<()> {
    let experiment = by_name(experiment).unwrap();
    let sets = [set.to_owned()];
    let overrides = Overrides {
        sets: &sets,
        ..Overrides::default()
    };
    let table = resolve(experiment.defaults(), &overrides).unwrap();
    experiment.check(&table)
}

#[test]
fn wrong_parameters_of_caches_are_named() {
    check("blockcache", "policies=[\"lru\"]").unwrap();
    for (experiment, set, word) in [
        ("blockcache", "policies=[\"mru\"]", "mru"),
        ("blockcache", "workloads=[\"fractal\"]", "fractal"),
        ("blockcache", "sizes=[]", "sizes"),
        ("blockcache", "sizes=[\"1MiB\", \"6000\"]", "4096"),
        ("blockcache", "sizes=[\"1TiB\"]", "sizes"),
        ("blockcache", "span=1TiB", "origin"),
        ("blockcache", "trace=/nonexistent.csv", "/nonexistent.csv"),
        ("blockcache", "writes_percent=101", "writes_percent"),
        ("writepolicy", "policies=[\"write-off\"]", "write-off"),
        ("writepolicy", "span=1GiB", "span"),
        ("writepolicy", "crashes=0", "crashes"),
        ("writepolicy", "sample=0", "sample"),
        ("shrinkcache", "ways=[\"anyhow\"]", "surrender, uniform"),
        ("shrinkcache", "keep_percent=0", "keep_percent"),
        ("shrinkcache", "shrunk=20001", "window"),
        ("shrinkcache", "write=write-back", "loss_write"),
        ("shrinkcache", "loss_write=read-only", "nothing to lose"),
        ("knowledge", "conditions=[\"luck\"]", "files-told, death"),
        ("knowledge", "conditions=[]", "conditions"),
        ("knowledge", "memory_percent=[50, 10]", "ascending"),
        ("knowledge", "scanned_percent=101", "ascending"),
        ("multiplex", "qemu.schedules=[\"weights\"]", "twins only"),
        ("multiplex", "qemu.vms=[65]", "1 to 64"),
        ("multiplex", "population=/nonexistent.csv", "go together"),
        (
            "knowledge",
            "span=1GiB",
            "the `origin` of 1GiB is too small",
        ),
        ("knowledge", "host=[\"given\"]", "given"),
        (
            "knowledge",
            "host=[\"lru\", \"lru\"]",
            "the list has `lru` twice",
        ),
        ("knowledge", "size=4KiB", "leaves no block"),
        ("knowledge", "seeds=1000000", "expected 1 to 10000"),
        ("knowledge", "warmup=9000000000", "expected 1 to 500000"),
        ("knowledge", "window=250", "choose a multiple of 100"),
        (
            "multiplex",
            "policies=[\"mrc\", \"mrc\"]",
            "has `mrc` twice",
        ),
        ("multiplex", "picks=[\"given\"]", "names its blocks"),
        ("multiplex", "pool=512KiB", "is 32 blocks for each of 4 VMs"),
        ("multiplex", "schedules=[\"traces\"]", "go together"),
        ("multiplex", "limit_percent=50", "choose 100 at least"),
        ("multiplex", "counted=32", "leave one at least"),
        ("knowledge", "after=1000", "announced_percent"),
        ("knowledge", "trace=/nonexistent.csv", "/nonexistent.csv"),
        ("knowledge", "trace=Cargo.toml", "deletions"),
    ] {
        let error = format!("{:#}", check(experiment, set).unwrap_err());
        assert!(error.contains(word), "{set}: {error}");
    }
}

#[test]
fn errors_say_the_parameter_the_value_and_the_choice() {
    for (experiment, set, text) in [
        ("media", "depth=65", "invalid value 65; expected 2 to 64"),
        ("sharing", "pool_percent=0.5", "0.5; expected 1 to 100"),
        (
            "latency",
            "wait_ms=0",
            "invalid value 0; expected at least 1",
        ),
        ("latency", "encodings=[]", "the list is empty"),
        ("latency", "block_size=0B", "0B; expected e.g. 4KiB"),
        ("latency", "shrink=4097B", "4097B is not a whole number"),
        (
            "overhead",
            "sizes=[\"1GB\"]",
            "invalid size `1GB`; expected",
        ),
        ("writepolicy", "evict=mru", "`mru`: unknown eviction policy"),
        ("sim", "policy=[\"mru\"]", "`mru`; expected all, fifo"),
    ] {
        let error = format!("{:#}", check(experiment, set).unwrap_err());
        let (key, _) = set.split_once('=').unwrap();
        let named = format!("the parameter `{key}` is wrong: ");
        assert!(error.starts_with(&named) && error.contains(text), "{error}");
    }
}

#[test]
fn wrong_parameters_are_named() {
    let check = |set| check("eviction", set);
    check("reads=10").unwrap();
    for (set, word) in [
        ("raeds=10", "raeds"),
        ("reads=many", "reads"),
        ("size=1 parsec", "size"),
        ("shrink_percent=100", "shrink_percent"),
        ("sample=300000", "warmup"),
        ("workload=fractal", "fractal"),
        ("pickers=[\"nobody\"]", "nobody"),
        ("sd=0", "deviation"),
    ] {
        let error = format!("{:#}", check(set).unwrap_err());
        assert!(error.contains(word), "{set}: {error}");
    }
}
