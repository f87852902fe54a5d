//! The agent beside a real backend, with a list of blocks that an application can miss.

mod support;

use std::os::unix::net::UnixListener;

use support::{Site, to, write};

/// 4 MiB in blocks of 4 KiB.
const BLOCKS: u32 = 1024;

#[test]
#[ignore = "the backend of the other tests, in a process of its own"]
fn serve() {
    support::serve();
}

fn site(list: &str) -> Site {
    let site = Site::new();
    write(&site.path("list"), list);
    site
}

fn raw(site: &Site) -> [String; 2] {
    ["--raw".to_owned(), site.path("list").display().to_string()]
}

#[test]
fn blocks_of_the_list_are_given_up_and_come_back() {
    let site = site("# free\n1000-1023\n7\n100-199\n");
    let host = site.host("4MiB", "4KiB");
    let mut agent = site.agent(raw(&site));
    host.wait_until(|v| v.agreed);
    agent.wait_for("holds 1024 blocks");

    let ended = host.resize(BLOCKS - 25);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    // The rest of the list has not enough: a partial answer.
    let ended = host.resize(BLOCKS - 200);
    assert_eq!((ended.end.as_str(), ended.held), ("declined", BLOCKS - 125));
    agent.wait_for("75 of the blocks that the device wants cannot be given up now");
    let ended = host.resize(BLOCKS);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    assert_eq!(host.vssd().counters.bad_frames, 0);
}

#[test]
fn the_list_is_read_at_each_shrink_and_a_bad_one_gives_nothing() {
    let site = site("1-10\nnonsense\n");
    let host = site.host("4MiB", "4KiB");
    let mut agent = site.agent(raw(&site));
    host.wait_until(|v| v.agreed);
    let ended = host.resize(BLOCKS - 20);
    assert_eq!((ended.end.as_str(), ended.held), ("declined", BLOCKS));
    agent.wait_for("line 2: invalid blocks `nonsense`");
    write(&site.path("list"), "1-10\n50-59\n");
    assert!(host.resize(BLOCKS - 20).is_complete());
}

#[test]
fn an_agent_that_is_killed_is_followed_by_the_next() {
    let site = site("0-1023\n");
    let host = site.host("4MiB", "4KiB");
    let agent = site.agent(raw(&site));
    host.wait_until(|v| v.agreed);
    assert!(host.resize(100).is_complete());
    agent.kill();
    host.wait_until(|v| !v.driver);
    let mut agent = site.agent(raw(&site));
    agent.wait_for("100 of 1024 blocks are here");
    host.wait_until(|v| v.agreed);
    assert!(host.resize(BLOCKS).is_complete());
}

#[test]
fn the_agent_waits_for_the_next_backend() {
    let site = site("0-1023\n");
    let host = site.host("4MiB", "4KiB");
    let mut agent = site.agent(raw(&site));
    host.wait_until(|v| v.agreed);
    assert!(host.resize(1000).is_complete());
    host.kill();
    agent.wait_for("the host has closed the channel; waiting for it");
    let host = site.host("4MiB", "4KiB");
    agent.wait_for("the host is back");
    agent.wait_for("1000 of 1024 blocks are here");
    host.wait_until(|v| v.agreed);
    assert!(host.resize(BLOCKS).is_complete());
}

#[test]
fn a_shrink_can_be_cancelled() {
    let site = site("0-9\n");
    let host = site.host("4MiB", "4KiB");
    let _agent = site.agent(raw(&site));
    host.wait_until(|v| v.agreed);
    let id = host.begin(to(BLOCKS - 5));
    // Whichever is first: both sides know the same in the end.
    host.cancel();
    host.ended(id);
    host.wait_until(|v| v.agreed && (v.held == BLOCKS || v.held == BLOCKS - 5));
}

#[test]
fn a_signal_ends_it_with_success() {
    let site = site("0-9\n");
    let host = site.host("4MiB", "4KiB");
    let mut agent = site.agent(raw(&site));
    host.wait_until(|v| v.agreed);
    agent.signal("HUP");
    agent.wait_for("looks again");
    agent.signal("TERM");
    let (code, said) = agent.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_second_agent_is_refused_for_good() {
    let site = site("0-9\n");
    let host = site.host("4MiB", "4KiB");
    let _first = site.agent(raw(&site));
    host.wait_until(|v| v.agreed);
    let (code, said) = site.agent(raw(&site)).end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("run one agent for each vSSD"), "{said}");
}

#[test]
fn bad_input_is_one_sentence() {
    let site = site("0-9\n");
    let none = site.path("none").display().to_string();
    let (code, said) = support::Agent::on(&site.path("no.sock"), raw(&site)).end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("virtserialport"), "{said}");
    let (code, said) = site.agent(["--raw".to_owned(), none]).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("none: No such file"), "{said}");
    let (code, said) = site.agent::<&str>([]).end();
    assert_eq!(code, Some(2), "{said}");
}

/// Garbage, half frames and a host that never answers cost no memory and no processor time.
#[test]
fn a_host_that_sends_garbage_is_borne() {
    let site = site("0-9\n");
    let listener = UnixListener::bind(site.path("agent.sock")).unwrap();
    let mut agent = site.agent(raw(&site));
    let (mut stream, _) = listener.accept().unwrap();
    let garbage = vec![0xff; 8 << 20];
    std::io::Write::write_all(&mut stream, &garbage).unwrap();
    assert!(
        agent.status_kib("VmRSS") < 8 << 10,
        "it keeps what it reads"
    );
    drop((stream, listener));
    agent.wait_for("the host has closed the channel");
    std::fs::remove_file(site.path("agent.sock")).unwrap();
    let host = site.host("4MiB", "4KiB");
    host.wait_until(|v| v.agreed);
}

/// Idle it neither runs nor wakes up, and needs less than 5 MiB: the static program itself takes 1.6
/// of these, and a debug build more.
#[test]
fn an_idle_agent_sleeps_and_is_small() {
    let site = site("0-8388607\n");
    let host = site.host("32GiB", "4KiB");
    let mut agent = site.agent(raw(&site));
    host.wait_until(|v| v.agreed);
    assert!(host.resize(4096).is_complete());
    host.wait_until(|v| v.agreed);
    agent.wait_for("holds 4096 blocks");
    // What follows the last response takes no event that a test could wait for.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let before = agent.activity();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(agent.activity(), before, "it is not asleep");
    let own = agent.status_kib("RssAnon");
    assert!(own < 3400, "{own} KiB");
}
