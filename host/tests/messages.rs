//! Error messages of the programs: one line, each cause once, in the units of the request.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::Output;
use std::time::Duration;

use support::daemon::{Site, pool};
use vssd_host::control::Client;

fn said(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Makes sure that no part of a message comes twice.
fn check(text: &str) {
    let lines: Vec<_> = text.lines().filter(|line| !line.contains("INFO")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    let clauses: Vec<_> = lines[0].split(": ").map(str::trim).collect();
    // The first is the name of the program.
    for (at, clause) in clauses.iter().enumerate().skip(1) {
        assert!(!clause.is_empty(), "{text}");
        let again = clauses[at + 1..].iter().any(|other| other.contains(clause));
        assert!(!again, "`{clause}` comes twice: {text}");
    }
    for word in ["(os error", "Os {"] {
        assert!(text.matches(word).count() < 2, "{text}");
    }
}

#[test]
fn every_cause_is_shown_once() {
    let site = Site::new();
    let good = site.spec("vm1", "size=1MiB");
    let path = |name: &str| site.path(name).to_str().unwrap().to_owned();
    // A backend that cannot start.
    for (specs, more) in [
        (vec![good.clone()], vec![]),
        (vec![], vec!["--config", "/no/such/file"]),
        (
            vec!["name=a,socket=/no/such/folder/s,size=1MiB".to_owned()],
            vec!["--create"],
        ),
        (
            vec![good.clone()],
            vec!["--create", "--metrics", "192.0.2.1:1"],
        ),
        (vec![good.clone()], vec!["--create", "--size", "1B"]),
    ] {
        check(&site.refused(&specs, &more));
    }
    fs::create_dir(site.path("folder")).unwrap();
    fs::write(site.path("config.toml"), "create = 5").unwrap();
    for backing in ["folder", "/no/such/folder/pool", "/proc/version"] {
        let backing = site.path(backing);
        check(&site.refused_on(&backing, std::slice::from_ref(&good), &["--create"]));
    }
    // Pools and clients.
    let folder = path("folder");
    for args in [
        &["status", "/no/such/file"][..],
        &["check", &folder],
        &["rm", &folder],
        &["create", &folder, "--size", "1MiB"],
        &["create", "/no/such/folder/pool", "--size", "1MiB"],
    ] {
        check(&said(&pool(args)));
    }
    check(&said(&site.vssdctl(&["status"])));
    let _daemon = site.start(std::slice::from_ref(&good));
    for args in [
        &["status", "--control", &folder][..],
        &["status", "--control", "/no/such/socket"],
        &["add", "name=vm1"],
        &["add", &good],
        &["add", &site.spec("vm2", "size=1MiB")],
        &[
            "add",
            "name=vm2,socket=/no/such/folder/s,size=1MiB",
            "--create",
        ],
        &["add", &site.spec("vm2", "size=1TiB"), "--create"],
        &[
            "add",
            &site.spec("vm2", "size=1MiB,block-size=8KiB"),
            "--create",
        ],
        &["remove", "vm2"],
        &["resize", "vm1", "--to", "5MiB"],
        &["resize", "vm1", "--to", "5B"],
        &["shrink", "vm1", "1MiB"],
        &["shrink", "vm1", "5MiB"],
        &[
            "shrink",
            "vm1",
            "--pick",
            "given",
            "--blocks",
            &path("config.toml"),
        ],
        &["shrink", "vm1", "--pick", "given", "--blocks", &folder],
        &["shrink", "vm1", "1MiB", "--pick", "lru"],
    ] {
        check(&said(&site.vssdctl(args)));
    }
}

#[test]
fn sizes_are_printed_in_the_units_of_the_request() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=8MiB,quota=4MiB")];
    let _daemon = site.start_with(&specs, &["--create", "--size", "6MiB"]);
    for (args, words) in [
        (&["resize", "vm1", "--to", "20MiB"][..], ["20MiB", "8MiB"]),
        (&["shrink", "vm1", "6MiB"], ["6MiB", "4MiB"]),
        (&["grow", "vm1", "1MiB"], ["its quota is 4MiB", "1MiB"]),
        (&["shrink", "vm1", "2000"], ["2000 blocks", "1024 blocks"]),
        (
            &["add", &site.spec("vm2", "size=8MiB,create=true")],
            ["can commit 2MiB", "8MiB"],
        ),
        (
            &[
                "add",
                &site.spec("vm2", "size=8MiB,quota=1MiB,reserve=3MiB,create=true"),
            ],
            ["reservation of 3MiB", "quota of 1MiB"],
        ),
        (
            &[
                "add",
                &site.spec("vm2", "size=8MiB,held=0B,reserve=7MiB,create=true"),
            ],
            ["can commit 2MiB", "7MiB"],
        ),
    ] {
        let text = said(&site.vssdctl(args));
        for word in words {
            assert!(text.contains(word), "{args:?}: {text}");
        }
    }
}

#[test]
fn two_of_a_command_with_one_socket_are_named() {
    let site = Site::new();
    let socket = site.path("vm1.sock");
    let second = format!("name=vm2,socket={},size=1MiB", socket.display());
    let specs = [site.spec("vm1", "size=1MiB"), second.clone()];
    let said_it = site.refused(&specs, &["--create"]);
    for word in ["vm1", "vm2", "the same socket", "vm1.sock"] {
        assert!(said_it.contains(word), "{said_it}");
    }
    assert!(!site.path("disk.img").exists() && !socket.exists());
    let control = site.path("control.sock");
    let third = format!("name=vm3,socket={},size=1MiB", control.display());
    let said_it = site.refused(std::slice::from_ref(&third), &["--create"]);
    assert!(
        said_it.contains("--control") && said_it.contains("vm3"),
        "{said_it}"
    );
    let _daemon = site.start(&specs[..1]);
    for (spec, word) in [(second, "vm1"), (third, "control socket")] {
        let text = said(&site.vssdctl(&["add", &spec, "--create"]));
        assert!(text.contains(word), "{text}");
        assert!(!text.contains("another program"), "{text}");
    }
}

/// A daemon that accepts the connection and does not answer, like a stopped one.
#[test]
fn a_silent_backend_is_distinguished_from_a_missing_one() {
    let site = Site::new();
    let socket = site.path("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut client = Client::connect(&socket, Some(Duration::from_millis(20))).unwrap();
    let error = anyhow::Error::from(client.status().unwrap_err());
    let text = format!("{error:#}");
    for word in ["did not answer within 20ms", "control.sock"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains("unavailable"), "{text}");
    // One that disconnects instead.
    let hanging = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(stream);
        let (stream, _) = listener.accept().unwrap();
        BufReader::new(stream)
            .read_line(&mut String::new())
            .unwrap();
    });
    let text = said(&site.vssdctl(&["status"]));
    assert!(text.contains("ended the connection"), "{text}");
    check(&text);
    hanging.join().unwrap();
}

/// The commands that a refusal suggests in backticks.
fn advised(text: &str) -> Vec<Vec<&str>> {
    let commands = text.split('`').skip(1).step_by(2);
    let commands = commands.filter_map(|command| command.strip_prefix("vssdctl "));
    commands
        .map(|command| command.split(' ').collect())
        .collect()
}

#[test]
fn a_resize_that_is_misused_names_a_command_that_is_not() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=1GiB")]);
    let both = [
        "shrink [OPTIONS] <VSSD> <SIZE>",
        "--pick given --blocks <LIST|FILE|->",
    ];
    for (args, words) in [
        (&["shrink", "vm1"][..], "SIZE is missing"),
        (
            &["shrink", "vm1", "--pick", "given"],
            "--pick given needs --blocks",
        ),
        (
            &["shrink", "vm1", "1MiB", "--pick", "given"],
            "in place of SIZE",
        ),
        (
            &["shrink", "vm1", "--blocks", "1"],
            "--blocks needs --pick given",
        ),
        (&["shrink", "vm1", "1", "--blocks", "1"], "and no SIZE"),
        (
            &["shrink", "vm1", "1", "--pick", "given", "--blocks", "1"],
            "leave SIZE out",
        ),
        (
            &["resize", "vm1", "--to", "1", "--pick", "given"],
            "--pick given is for",
        ),
    ] {
        let output = site.vssdctl(args);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(words), "{args:?}: {text}");
        assert!(
            text.contains(&format!("Usage: vssdctl {}", args[0])),
            "{text}"
        );
        if args[0] == "shrink" {
            assert!(both.iter().all(|usage| text.contains(usage)), "{text}");
        }
        let advised = advised(&text);
        assert!(!advised.is_empty(), "{text}");
        for command in advised {
            // It is refused as there is no guest; it only has to be valid.
            let output = site.vssdctl(&command);
            assert_eq!(output.status.code(), Some(1), "{command:?}");
            assert!(
                said(&output).contains("no guest is connected"),
                "{command:?}"
            );
        }
    }
    // A grow picks and takes nothing.
    for option in [
        &["--force"][..],
        &["--no-revoke"],
        &["--seed", "1"],
        &["--pick", "lru"],
    ] {
        let output = site.vssdctl(&[&["grow", "vm1", "1"], option].concat());
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{option:?}: {text}");
        assert!(
            text.contains(&format!("unexpected argument '{}'", option[0])),
            "{text}"
        );
    }
    for args in [
        ["shrink", "vm1", "0"],
        ["shrink", "vm1", "0MiB"],
        ["grow", "vm1", "0"],
        ["grow", "vm1", "0B"],
    ] {
        let output = site.vssdctl(&args);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains("at least one block"), "{text}");
    }
}

#[test]
fn a_key_without_a_value_is_named() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let keys = [
        "name",
        "socket",
        "size",
        "block-size",
        "held",
        "quota",
        "reserve",
        "encoding",
        "create",
    ];
    for key in keys {
        let rest: Vec<_> = ["name=vm2", "socket=s", "size=1MiB"]
            .into_iter()
            .filter(|part| !part.starts_with(&format!("{key}=")))
            .collect();
        let text = said(&site.vssdctl(&["add", &format!("{},{key}=", rest.join(","))]));
        assert!(text.contains(&format!("{key}= has no value")), "{text}");
        check(&text);
    }
    for (part, words) in [
        ("held=much", "invalid held: invalid size `much`"),
        ("encoding=zip", "invalid encoding: "),
        ("colour=red", "unknown key `colour`"),
        ("colour=", "unknown key `colour`"),
    ] {
        let text = said(&site.vssdctl(&["add", &site.spec("vm2", &format!("size=1MiB,{part}"))]));
        assert!(text.contains(words), "{text}");
        check(&text);
    }
    drop(daemon);
    // In a file as well.
    let config = site.path("config.toml");
    for (key, table) in [
        ("socket", "name = \"vm1\"\nsocket = \"\"\nsize = \"1MiB\"\n"),
        ("name", "name = \"\"\nsocket = \"s\"\nsize = \"1MiB\"\n"),
    ] {
        fs::write(&config, format!("[[vssd]]\n{table}")).unwrap();
        let text = site.refused(&[], &["--config", config.to_str().unwrap()]);
        assert!(text.contains(&format!("{key}= has no value")), "{text}");
    }
}
