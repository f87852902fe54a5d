//! Metrics for Prometheus: an HTTP endpoint in the OpenMetrics text format, and in the older text
//! format of Prometheus for clients that ask for it.
//!
//! It is off by default, and listens on loopback only: there is no authentication. Numbers are read
//! when they are scraped; between two scrapes it costs nothing.

mod format;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use self::format::{Format, plain};
use crate::backend::Backend;
use crate::control::arbiter;
use crate::control::protocol::{
    ArbiterStatus, Connection, PoolStatus, ShareStatus, TransportName, VssdStatus,
};
use crate::control::report::{pool_status, statuses};
use crate::descriptors::METRICS_CLIENTS;
use crate::http::{Request, Response, read_request};
use crate::latency::{add, histogram};
use crate::log_limit::LogLimit;
use crate::threads::{acceptor, panics};

/// Upper bounds of the histogram's buckets, nanoseconds: the powers of two from
/// 1 µs to 17 s.
fn bounds_ns() -> impl Iterator<Item = u64> {
    (0..25).map(|power| 1000 << power)
}

/// How long a client may take to send its request, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens at `address`.
///
/// # Errors
/// When the address is not a loopback address, or taken.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    ensure!(
        address.ip().is_loopback(),
        "--metrics {address} is not a loopback address: use 127.0.0.1 or [::1]"
    );
    TcpListener::bind(address).with_context(|| format!("listen at {address} for --metrics"))
}

/// Serves `/metrics` to the clients of `listener`.
///
/// # Errors
/// When the system has no thread left.
pub fn serve(backend: Arc<Backend>, listener: TcpListener) -> Result<()> {
    let (clients, log_limit) = (Arc::new(()), LogLimit::default());
    let accept = move || Ok(listener.accept()?.0);
    acceptor("metrics", accept, move |stream| {
        let seat = clients.clone();
        if Arc::strong_count(&clients) > METRICS_CLIENTS + 1 {
            return;
        }
        let backend = backend.clone();
        let served = thread::Builder::new()
            .name("metrics-client".to_owned())
            .spawn(move || {
                let _seat = seat;
                // A client that has left gets nothing.
                let _ = answer(stream, &backend);
            });
        if let Err(error) = served
            && let Some(times) = log_limit.due()
        {
            tracing::warn!(%error, times, "a client of the metrics could not be served");
        }
    })
    .context("start the thread for metrics")?;
    Ok(())
}

/// Answers one request, and closes the connection.
fn answer(mut stream: TcpStream, backend: &Backend) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read_request(&mut stream, PATIENCE)?;
    let head_only = request.as_ref().is_some_and(|r| r.method == "HEAD");
    respond(request, backend).write(&mut stream, head_only)
}

fn respond(request: Option<Request>, backend: &Backend) -> Response {
    let refuse = |status, body: &str| Response {
        status,
        content_type: Format::Plain.content_type(),
        body: format!("{body}\n"),
        allow: None,
    };
    let Some(request) = request else {
        return refuse("400 Bad Request", "invalid request");
    };
    if request.path != "/metrics" {
        return refuse("404 Not Found", "the only page is /metrics");
    }
    if !["GET", "HEAD"].contains(&request.method.as_str()) {
        return Response {
            allow: Some("GET, HEAD"),
            ..refuse("405 Method Not Allowed", "only GET and HEAD")
        };
    }
    let format = Format::wanted(&request);
    match scrape(backend) {
        Ok(text) => Response {
            status: "200 OK",
            content_type: format.content_type(),
            body: match format {
                Format::Open => text,
                Format::Plain => plain(&text),
            },
            allow: None,
        },
        Err(error) => refuse("500 Internal Server Error", &error.to_string()),
    }
}

/// All numbers as they are now.
fn scrape(backend: &Backend) -> Result<String, fmt::Error> {
    let snapshot = Snapshot {
        panics: panics(),
        pool: pool_status(backend.pool()),
        vssds: statuses(backend),
        // None when it is off.
        arbiter: arbiter::status(backend).ok(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The data of a scrape.
#[derive(Debug)]
struct Snapshot {
    panics: u64,
    pool: PoolStatus,
    vssds: Vec<VssdStatus>,
    arbiter: Option<ArbiterStatus>,
}

/// A metric of vSSDs: its name, description and unit, and for each vSSD its values by a label.
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    label: &'static str,
    values: Values,
}

type Values = fn(&VssdStatus) -> Vec<(String, u64)>;

fn named<const N: usize>(values: [(&str, u64); N]) -> Vec<(String, u64)> {
    let owned = values.map(|(name, value)| (name.to_owned(), value));
    owned.to_vec()
}

fn counter(
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    label: &'static str,
    values: Values,
) -> Family {
    Family {
        name,
        help,
        unit,
        kind: MetricType::Counter,
        label,
        values,
    }
}

fn gauge(name: &'static str, help: &'static str, label: &'static str, values: Values) -> Family {
    Family {
        name,
        help,
        unit: None,
        kind: MetricType::Gauge,
        label,
        values,
    }
}

/// What a vSSD has done.
fn counters() -> impl IntoIterator<Item = Family> {
    [
        counter(
            "vssd_requests",
            "Requests that succeeded",
            None,
            "op",
            |v| {
                let c = &v.counters;
                named([
                    ("read", c.reads),
                    ("write", c.writes),
                    ("zero", c.zeroings),
                    ("flush", c.flushes),
                ])
            },
        ),
        counter(
            "vssd_moved",
            "Data read and written",
            Some(Unit::Bytes),
            "op",
            |v| {
                let c = &v.counters;
                named([("read", c.read_bytes), ("write", c.written_bytes)])
            },
        ),
        counter(
            "vssd_failures",
            "Requests that did not succeed",
            None,
            "cause",
            |v| {
                let c = &v.counters;
                named([
                    ("medium", c.io_errors),
                    ("no-space", c.no_space),
                    ("no-request", c.bad_chains),
                    ("no-frame", c.bad_frames),
                ])
            },
        ),
        counter(
            "vssd_rejects",
            "Requests and commands refused",
            None,
            "reason",
            |v| v.counters.rejects.clone().into_iter().collect(),
        ),
        counter(
            "vssd_polls",
            "Waits for requests in which the backend busy-polled",
            None,
            "result",
            |v| {
                let c = &v.counters;
                named([("found", c.polls_found), ("vain", c.polls_vain)])
            },
        ),
        counter(
            "vssd_restarts",
            "Restarts of a vSSD's server after a thread died",
            None,
            "cause",
            |v| named([("thread-died", v.restarts)]),
        ),
        counter("vssd_resizes", "Resizes that ended", None, "end", |v| {
            v.counters.resize_ends.clone().into_iter().collect()
        }),
        counter(
            "vssd_blocks_moved",
            "Blocks that changed ownership",
            None,
            "way",
            |v| {
                let c = &v.counters;
                named([("surrendered", c.surrendered), ("granted", c.granted)])
            },
        ),
        counter(
            "vssd_blocks_revoked",
            "Blocks taken by force, of those surrendered",
            None,
            "way",
            |v| named([("force", v.counters.revoked)]),
        ),
    ]
}

/// What a vSSD has now.
fn gauges() -> impl IntoIterator<Item = Family> {
    [
        gauge("vssd_blocks", "Blocks of a vSSD", "state", |v| {
            named([
                ("capacity", v.capacity.into()),
                ("quota", v.quota.into()),
                ("held", v.held.into()),
                ("written", v.used.into()),
            ])
        }),
        gauge(
            "vssd_connected",
            "Whether a frontend is connected, and a driver or an agent answers",
            "kind",
            |v| {
                let answers = |transport| u64::from(v.driver && v.transport == transport);
                named([
                    ("frontend", v.connected.into()),
                    ("driver", answers(TransportName::Virtqueues)),
                    ("agent", answers(TransportName::Stream)),
                ])
            },
        ),
        gauge(
            "vssd_waiting",
            "Waits of a vSSD, for requests to end or for a client's first message",
            "for",
            |v| {
                let connecting = v.connection == Connection::Connecting;
                named([
                    ("requests", v.draining.into()),
                    ("client", connecting.into()),
                ])
            },
        ),
    ]
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in counters().into_iter().chain(gauges()) {
            self.encode_family(&mut encoder, &family)?;
        }
        encoder
            .encode_descriptor(
                "vssd_panics",
                "Panics of the backend's threads",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&self.panics, None)?;
        self.encode_service(&mut encoder)?;
        if let Some(arbiter) = &self.arbiter {
            encode_arbiter(arbiter, &mut encoder)?;
        }
        self.encode_pool(&mut encoder)
    }
}

impl Snapshot {
    fn encode_family(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &Family,
    ) -> Result<(), fmt::Error> {
        let Family {
            name, help, kind, ..
        } = *family;
        let unit = family.unit.as_ref();
        let mut metric = encoder.encode_descriptor(name, help, unit, kind)?;
        for vssd in &self.vssds {
            for (label, value) in (family.values)(vssd) {
                let labels = [("vssd", vssd.name.clone()), (family.label, label)];
                let mut one = metric.encode_family(&labels)?;
                match kind {
                    MetricType::Counter => {
                        one.encode_counter::<NoLabelSet, _, u64>(&value, None)?
                    }
                    _ => one.encode_gauge(&(value as i64))?,
                }
            }
        }
        Ok(())
    }

    fn encode_service(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metric = encoder.encode_descriptor(
            "vssd_service",
            "Service time of requests",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let of_all = self
            .vssds
            .iter()
            .flat_map(|vssd| vssd.latency.iter().map(move |of| (vssd, of)));
        for (vssd, of) in of_all {
            let mut service = histogram();
            add(&mut service, &of.buckets);
            let mut buckets = Vec::new();
            let mut below = 0;
            for bound in bounds_ns() {
                let up_to = service.count_between(0, bound);
                buckets.push((bound as f64 / 1e9, up_to - below));
                below = up_to;
            }
            buckets.push((f64::INFINITY, service.len() - below));
            let sum = service.mean() * service.len() as f64 / 1e9;
            let labels = [("vssd", vssd.name.as_str()), ("op", of.operation.label())];
            metric
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(sum, service.len(), &buckets, None)?;
        }
        Ok(())
    }

    fn encode_pool(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pool = &self.pool;
        encoder
            .encode_descriptor(
                "vssd_pool_block",
                "Size of a block",
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::from(pool.block_size))?;
        let mut blocks = encoder.encode_descriptor(
            "vssd_pool_blocks",
            "Blocks of the pool",
            None,
            MetricType::Gauge,
        )?;
        for (state, value) in [
            ("places", u64::from(pool.physical_blocks)),
            ("free", pool.free.into()),
            ("limbo", pool.deferred.into()),
            ("reserved", pool.reserved),
            ("committed", pool.committed),
            ("limit", pool.limit),
        ] {
            let labels = [("state", state)];
            blocks
                .encode_family(&labels)?
                .encode_gauge(&(value as i64))?;
        }
        for (name, help, unit, value) in [
            (
                "vssd_pool_commits",
                "Commits to the journal",
                None,
                pool.commits,
            ),
            (
                "vssd_pool_journal",
                "Data written to the journal",
                Some(&Unit::Bytes),
                pool.journal_bytes,
            ),
            (
                "vssd_pool_compactions",
                "Compactions of the journal",
                None,
                pool.compactions,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, unit, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// What the arbiter decided, and what it goes by.
fn encode_arbiter(
    status: &ArbiterStatus,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut gauge = |name, help, value: fn(&ShareStatus) -> Option<f64>| {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for vssd in &status.vssds {
            if let Some(value) = value(vssd) {
                let labels = [("vssd", vssd.name.as_str())];
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    };
    gauge(
        "vssd_arbiter_wanted_blocks",
        "Blocks that the arbiter's policy wants a vSSD to hold",
        |vssd| vssd.wanted.map(f64::from),
    )?;
    gauge(
        "vssd_arbiter_weight",
        "Part of a vSSD of what the arbiter divides",
        |vssd| Some(vssd.weight.into()),
    )?;
    gauge(
        "vssd_hit_ratio",
        "Part of the accesses that hit, by the last report of the guest",
        |vssd| vssd.hit_ratio,
    )?;
    let mut decisions = encoder.encode_descriptor(
        "vssd_arbiter_decisions",
        "Decisions of the arbiter",
        None,
        MetricType::Counter,
    )?;
    for vssd in &status.vssds {
        for (action, count) in &vssd.decisions {
            let labels = [("vssd", vssd.name.as_str()), ("action", action.as_str())];
            decisions
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
    }
    Ok(())
}
