//! Metrics over HTTP: every line is valid, and agrees with the status.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;
use support::PATIENCE;
use support::daemon::{Daemon, Site};
use support::frontend::{Frontend, OK};
use vssd_host::control::protocol::{Change, Resize};
use vssd_host::size::Amount;
use workloads::{HostPick, Pick};

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana/vssd.json");

fn start() -> (Site, Daemon, String) {
    start_with(&[])
}

fn start_with(rest: &[&str]) -> (Site, Daemon, String) {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=2MiB")];
    let more = ["--create", "--metrics", "127.0.0.1:0"];
    let (daemon, log) = site.start_with_log(&specs, &[&more, rest].concat());
    let text = log.wait_for("http://");
    let url = text.split("http://").nth(1).unwrap();
    let address = url.split('/').next().unwrap().to_owned();
    (site, daemon, address)
}

/// The answer to some bytes: status line and body.
fn ask(address: &str, request: &str) -> (String, String) {
    let (head, body) = ask_all(address, request);
    (head.lines().next().unwrap_or("").to_owned(), body)
}

/// The answer to some bytes: head and body.
fn ask_all(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut text = String::new();
    // One that is refused gets no answer.
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.to_owned(), body.to_owned())
}

fn get(address: &str, path: &str) -> (String, String) {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

/// What the client asked for by `accept`: the type of the answer, and its body.
fn get_as(address: &str, accept: &str) -> (String, String) {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{accept}Connection: close\r\n\r\n");
    let (head, body) = ask_all(address, &request);
    let kind = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Type: "));
    (kind.unwrap().to_owned(), body)
}

/// Samples by name and labels.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (status, body) = get(address, "/metrics");
    assert!(status.contains("200"), "{status}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

#[test]
fn metrics_say_what_the_status_says() {
    let (site, daemon, address) = start();
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    for block in 0..10 {
        assert_eq!(guest.write_at(8 * block, &[1; 4096]), OK);
    }
    assert_eq!(guest.read_at(0, 8192).unwrap(), [1; 8192]);
    let mut resize = Resize::new("vm1", Change::Shrink(Amount::Blocks(56)));
    resize.pick = Pick::Host(HostPick::Sequential);
    resize.force = true;
    let id = daemon.begin(resize);
    assert!(daemon.ended(id).is_complete());
    assert!(guest.write_at(8 * 255, &[1; 4096]) != OK);
    let samples = scrape(&address);
    for (name, value) in [
        (r#"vssd_requests_total{vssd="vm1",op="write"}"#, 10.0),
        (r#"vssd_requests_total{vssd="vm2",op="write"}"#, 0.0),
        (r#"vssd_moved_bytes_total{vssd="vm1",op="read"}"#, 8192.0),
        (r#"vssd_rejects_total{vssd="vm1",reason="not-held"}"#, 1.0),
        (r#"vssd_resizes_total{vssd="vm1",end="complete"}"#, 1.0),
        (
            r#"vssd_blocks_moved_total{vssd="vm1",way="surrendered"}"#,
            56.0,
        ),
        (r#"vssd_blocks_revoked_total{vssd="vm1",way="force"}"#, 56.0),
        ("vssd_pool_block_bytes", 4096.0),
        (r#"vssd_blocks{vssd="vm1",state="held"}"#, 200.0),
        (r#"vssd_blocks{vssd="vm1",state="written"}"#, 10.0),
        (r#"vssd_blocks{vssd="vm2",state="capacity"}"#, 512.0),
        (r#"vssd_connected{vssd="vm1",kind="frontend"}"#, 1.0),
        (r#"vssd_connected{vssd="vm1",kind="agent"}"#, 0.0),
        (r#"vssd_waiting{vssd="vm1",for="requests"}"#, 0.0),
        (
            r#"vssd_restarts_total{vssd="vm1",cause="thread-died"}"#,
            0.0,
        ),
        ("vssd_panics_total", 0.0),
        (r#"vssd_service_seconds_count{vssd="vm1",op="write"}"#, 10.0),
        (
            r#"vssd_service_seconds_bucket{le="+Inf",vssd="vm1",op="read"}"#,
            1.0,
        ),
        (r#"vssd_service_seconds_count{vssd="vm1",op="flush"}"#, 0.0),
        (r#"vssd_pool_blocks{state="places"}"#, 768.0),
        (r#"vssd_pool_blocks{state="free"}"#, 758.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in {samples:#?}");
    }
    let status = daemon.status().pool;
    assert!(samples["vssd_pool_commits_total"] <= status.commits as f64);
    assert!(samples["vssd_pool_commits_total"] > 0.0);
}

#[test]
fn clients_ask_in_all_the_ways_that_http_has() {
    let (_site, _daemon, address) = start();
    let ask = |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        ask_all(&address, &request)
    };
    for line in [
        "GET /metrics?debug=1",
        &format!("GET http://{address}/metrics"),
        &format!("GET http://{address}/metrics?name[]=vssd_blocks"),
    ] {
        let (head, body) = ask(line);
        assert!(head.starts_with("HTTP/1.1 200"), "{line}: {head}");
        assert!(body.ends_with("# EOF\n"), "{line}");
    }
    let (head, body) = ask("HEAD /metrics");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, "");
    let len = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    assert!(len.unwrap().parse::<usize>().unwrap() > 1000, "{head}");
    let (head, body) = ask("HEAD /other");
    assert!(
        head.starts_with("HTTP/1.1 404") && body.is_empty(),
        "{head}"
    );
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "head"] {
        let (head, _) = ask(&format!("{method} /metrics"));
        assert!(head.starts_with("HTTP/1.1 405"), "{method}: {head}");
        assert!(head.contains("Allow: GET, HEAD"), "{method}: {head}");
    }
    assert!(ask("GET /metricsx").0.starts_with("HTTP/1.1 404"));
}

/// A client that asks for the older text format gets that, with its names and without what it
/// lacks.
#[test]
fn the_format_is_the_one_asked_for() {
    let (_site, _daemon, address) = start();
    for (accept, open) in [
        ("", true),
        ("Accept: */*\r\n", true),
        ("Accept: text/plain\r\n", false),
        ("Accept: text/plain;version=0.0.4;q=1,*/*;q=0.1\r\n", false),
        ("Accept: text/*\r\n", false),
        // As Prometheus asks.
        (
            "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3\r\n",
            true,
        ),
        (
            "Accept: application/openmetrics-text;q=0.2\r\nAccept: text/plain;q=0.3\r\n",
            false,
        ),
    ] {
        let (kind, body) = get_as(&address, accept);
        let wanted = if open {
            "application/openmetrics-text; version=1.0.0"
        } else {
            "text/plain; version=0.0.4"
        };
        assert!(kind.starts_with(wanted), "{accept}: {kind}");
        assert_eq!(body.ends_with("# EOF\n"), open, "{accept}");
        assert_eq!(body.contains("# UNIT"), open, "{accept}");
        let described = if open {
            "# TYPE vssd_requests counter\n"
        } else {
            "# TYPE vssd_requests_total counter\n"
        };
        assert!(body.contains(described), "{accept}: {body}");
        assert!(body.contains("# TYPE vssd_blocks gauge\n"), "{accept}");
        assert!(
            body.contains("# TYPE vssd_service_seconds histogram\n"),
            "{accept}"
        );
        assert!(
            body.contains(r#"vssd_requests_total{vssd="vm1",op="read"} 0"#),
            "{accept}"
        );
    }
}

#[test]
fn invalid_clients_get_an_answer_and_block_no_other() {
    let (_site, _daemon, address) = start();
    // These send nothing, or never stop. Others are served beside them, and in their place after
    // the timeout.
    let idle: Vec<_> = (0..40)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    let mut endless = TcpStream::connect(&address).unwrap();
    // It may be disconnected while it sends.
    let _ = endless
        .write_all(format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(100_000)).as_bytes());
    let began = Instant::now();
    while get(&address, "/").0.is_empty() {
        assert!(began.elapsed() < PATIENCE, "no client is served any more");
    }
    assert!(get(&address, "/").0.contains("404"));
    let post =
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(ask(&address, post).0.contains("405"));
    scrape(&address);
    assert!(ask(&address, "garbage\r\n\r\n").0.contains("400"));
    drop((idle, endless));
}

#[test]
fn other_machines_are_not_served() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    for address in ["0.0.0.0:0", "192.0.2.1:9100"] {
        let said = site.refused(&specs, &["--create", "--metrics", address]);
        assert!(said.contains("127.0.0.1"), "{said}");
    }
}

#[test]
fn the_arbiter_has_metrics_when_it_is_on() {
    let (_site, _daemon, address) = start();
    let samples = scrape(&address);
    assert!(samples.keys().all(|name| !name.contains("arbiter")));
    let (site, _daemon, address) = start_with(&["--arbiter", "policy=shares,period=1day"]);
    let set = ["arbiter", "set", "--weight", "vm2=3"];
    assert!(site.vssdctl(&set).status.success());
    let samples = scrape(&address);
    for (name, value) in [
        (r#"vssd_arbiter_weight{vssd="vm1"}"#, Some(1.0)),
        (r#"vssd_arbiter_weight{vssd="vm2"}"#, Some(3.0)),
        (
            r#"vssd_arbiter_decisions_total{vssd="vm1",action="grow"}"#,
            Some(0.0),
        ),
        // Nothing was decided, and no guest reported.
        (r#"vssd_arbiter_wanted_blocks{vssd="vm1"}"#, None),
        (r#"vssd_hit_ratio{vssd="vm1"}"#, None),
    ] {
        assert_eq!(samples.get(name).copied(), value, "{name}");
    }
}

/// Words of PromQL in the dashboard, and labels that Prometheus or a histogram adds.
const PROMQL: [&str; 14] = [
    "sum",
    "by",
    "on",
    "ignoring",
    "group_left",
    "rate",
    "increase",
    "histogram_quantile",
    "__rate_interval",
    "job",
    "instance",
    "le",
    "label_values",
    "vssd",
];

/// A metric in a PromQL expression, and the values that it is asked for by label.
struct Asked {
    metric: String,
    labels: Vec<(String, String)>,
}

/// The metrics in an expression. What is neither a metric nor a known word is taken for one.
fn asked(expression: &str, labels: &BTreeSet<String>) -> Vec<Asked> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::<Asked>::new();
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        if c == '{' {
            let (selector, behind) = rest[1..].split_once('}').unwrap();
            rest = behind;
            let conditions = selector.split(',').map(|condition| {
                let (label, value) = condition.split_once('=').unwrap();
                let value = value.trim_start_matches('~').trim_matches('"');
                (label.to_owned(), value.to_owned())
            });
            found.last_mut().unwrap().labels = conditions.collect();
        } else if c.is_ascii_alphabetic() || c == '_' {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            if !PROMQL.contains(&word) && !labels.contains(word) {
                found.push(Asked {
                    metric: word.to_owned(),
                    labels: Vec::new(),
                });
            }
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// All names that samples of the described metrics have, by kind.
fn exported(body: &str) -> BTreeSet<String> {
    let types = body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.flat_map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        endings.iter().map(move |ending| format!("{name}{ending}"))
    });
    names.collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist_and_shows_all_of_the_arbiter() {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    for field in ["uid", "title", "refresh", "timezone"] {
        assert!(dashboard[field].is_string(), "{field}");
    }
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 30);
    assert!(dashboard["time"]["from"].is_string() && dashboard["time"]["to"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let mut expressions = Vec::new();
    for variable in variables {
        assert!(
            variable["name"].is_string() && variable["type"].is_string(),
            "{variable}"
        );
        expressions.extend(variable["query"]["query"].as_str());
    }
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let place = ["x", "y", "w", "h"].map(|of| panel["gridPos"][of].as_u64().unwrap());
        assert!(place[0] + place[2] <= 24, "{title}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["datasource"]["uid"].is_string(), "{title}");
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}"
        );
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        let refs: BTreeSet<_> = targets
            .iter()
            .map(|of| of["refId"].as_str().unwrap())
            .collect();
        assert_eq!(refs.len(), targets.len(), "{title}");
        expressions.extend(targets.iter().map(|of| of["expr"].as_str().unwrap()));
    }

    let (_site, _daemon, address) = start_with(&["--arbiter", "policy=shares,period=1day"]);
    let (_, body) = get(&address, "/metrics");
    let exported = exported(&body);
    let labels = body
        .split(['{', ','])
        .filter_map(|part| part.split_once("=\""));
    let labels: BTreeSet<String> = labels
        .map(|(label, _)| label.to_owned())
        .chain(["end", "reason"].map(str::to_owned))
        .collect();
    let mut used = BTreeSet::new();
    for expression in expressions {
        let asked = asked(expression, &labels);
        assert!(!asked.is_empty(), "{expression}");
        for Asked { metric, labels } in asked {
            assert!(exported.contains(&metric), "`{metric}` in {expression}");
            for (label, values) in labels {
                let values = values.split('|').filter(|value| !value.starts_with('$'));
                for value in values {
                    let (begin, condition) =
                        (format!("{metric}{{"), format!("{label}=\"{value}\""));
                    let mut samples = body.lines().filter(|line| line.starts_with(&begin));
                    let exists = samples.any(|line| line.contains(&condition));
                    assert!(exists, "`{metric}` with {condition} in {expression}");
                }
            }
            used.insert(metric);
        }
    }
    let of_arbiter = |name: &&String| name.contains("arbiter") || *name == "vssd_hit_ratio";
    let missing: Vec<_> = exported
        .iter()
        .filter(of_arbiter)
        .filter(|name| !used.contains(*name))
        .collect();
    assert_eq!(missing, [""; 0], "the dashboard does not show these");
}

#[test]
fn words_that_are_no_metric_are_found_in_expressions() {
    let labels = BTreeSet::from(["op".to_owned()]);
    let expression = r#"sum by (op) (rate(vssd_a_total{op=~"x|y"}[$__rate_interval])) / on (job) vssd_b + bad(1)"#;
    let asked = asked(expression, &labels);
    let metrics: Vec<_> = asked.iter().map(|of| of.metric.as_str()).collect();
    assert_eq!(metrics, ["vssd_a_total", "vssd_b", "bad"]);
    assert_eq!(asked[0].labels, [("op".to_owned(), "x|y".to_owned())]);
}
