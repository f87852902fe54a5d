//! What the backend does, for Prometheus: an HTTP endpoint in the OpenMetrics text format.
//!
//! It is off unless asked for, and listens on this machine only: there is no
//! authentication. Numbers are read when they are asked for; between two scrapes it
//! costs nothing.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::backend::Backend;
use crate::complaint::Complaint;
use crate::control::protocol::{Connection, PoolStatus, VssdStatus};
use crate::control::server::{pool_status, statuses};
use crate::latency::{add, histogram};
use crate::threads::{acceptor, panics};

/// What OpenMetrics calls itself.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Upper bounds of the histogram's buckets, nanoseconds: the powers of two from
/// 1 µs to 17 s.
fn bounds_ns() -> impl Iterator<Item = u64> {
    (0..25).map(|power| 1000 << power)
}

/// Bytes of a request's head at most.
const MAX_HEAD: usize = 8 << 10;

/// Headers of a request at most.
const MAX_HEADERS: usize = 64;

/// Clients at a time; more are turned away.
pub const MAX_CLIENTS: usize = 16;

/// How long a client may take to ask, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves `GET /metrics` at `address`; returns the address, which differs if
/// the port was 0.
///
/// # Errors
/// When the address is not this machine's own, or taken.
pub fn serve(backend: Arc<Backend>, address: SocketAddr) -> Result<SocketAddr> {
    ensure!(
        address.ip().is_loopback(),
        "--metrics {address} could be reached from elsewhere: use 127.0.0.1 or [::1]"
    );
    let describe = || format!("listen at {address} for --metrics");
    let listener = TcpListener::bind(address).with_context(describe)?;
    let bound = listener.local_addr().with_context(describe)?;
    let (clients, complaint) = (Arc::new(()), Complaint::default());
    let accept = move || Ok(listener.accept()?.0);
    acceptor("metrics", accept, move |stream| {
        let seat = clients.clone();
        if Arc::strong_count(&clients) > MAX_CLIENTS + 1 {
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
            && let Some(times) = complaint.due()
        {
            tracing::warn!(%error, times, "a client of the metrics could not be served");
        }
    })
    .context("start the thread for metrics")?;
    Ok(bound)
}

/// Answers one request, and hangs up.
fn answer(mut stream: TcpStream, backend: &Backend) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let (status, kind, body) = match read_head(&mut stream) {
        Ok(Some(wanted)) if wanted == ("GET".to_owned(), "/metrics".to_owned()) => {
            match scrape(backend) {
                Ok(text) => ("200 OK", CONTENT_TYPE, text),
                Err(error) => ("500 Internal Server Error", PLAIN, error.to_string()),
            }
        }
        Ok(Some((_, path))) if path == "/metrics" => {
            ("405 Method Not Allowed", PLAIN, "only GET\n".to_owned())
        }
        Ok(Some(_)) => ("404 Not Found", PLAIN, "only /metrics\n".to_owned()),
        Ok(None) => ("400 Bad Request", PLAIN, "no request\n".to_owned()),
        Err(error) => return Err(error),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Method and path of a request; `None` when it is none, or a longer one than
/// anybody needs.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<(String, String)>> {
    let until = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() < MAX_HEAD {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut part)? {
            0 => return Ok(None),
            len => head.extend_from_slice(&part[..len]),
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                let wanted = request.method.zip(request.path);
                return Ok(wanted.map(|(method, path)| (method.to_owned(), path.to_owned())));
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// All numbers as they are now.
fn scrape(backend: &Backend) -> Result<String, fmt::Error> {
    let snapshot = Snapshot {
        panics: panics(),
        pool: pool_status(backend.pool()),
        vssds: statuses(backend),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// What a scrape tells.
#[derive(Debug)]
struct Snapshot {
    panics: u64,
    pool: PoolStatus,
    vssds: Vec<VssdStatus>,
}

/// A metric: its name, what it is, its unit, and for each vSSD its values by a label.
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    unit: Option<Unit>,
    kind: MetricType,
    label: &'a str,
    values: &'a dyn Fn(&VssdStatus) -> Vec<(String, u64)>,
}

fn named<const N: usize>(values: [(&str, u64); N]) -> Vec<(String, u64)> {
    let owned = values.map(|(name, value)| (name.to_owned(), value));
    owned.to_vec()
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counter = |name, help, unit, label, values| Family {
            name,
            help,
            unit,
            kind: MetricType::Counter,
            label,
            values,
        };
        let families = [
            counter(
                "vssd_requests",
                "Requests that succeeded",
                None,
                "op",
                &|v| {
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
                &|v| {
                    let c = &v.counters;
                    named([("read", c.read_bytes), ("write", c.written_bytes)])
                },
            ),
            counter(
                "vssd_failures",
                "Requests that did not succeed",
                None,
                "cause",
                &|v| {
                    let c = &v.counters;
                    named([("medium", c.io_errors), ("no-request", c.bad_chains)])
                },
            ),
            counter(
                "vssd_rejects",
                "Requests and commands refused",
                None,
                "reason",
                &|v| v.counters.rejects.clone().into_iter().collect(),
            ),
            counter(
                "vssd_polls",
                "Waits for requests in which the backend looked for them",
                None,
                "result",
                &|v| {
                    let c = &v.counters;
                    named([("found", c.polls_found), ("vain", c.polls_vain)])
                },
            ),
            counter(
                "vssd_restarts",
                "How often a vSSD was served anew",
                None,
                "cause",
                &|v| named([("thread-died", v.restarts)]),
            ),
            counter("vssd_resizes", "Resizes that ended", None, "end", &|v| {
                v.counters.resize_ends.clone().into_iter().collect()
            }),
            counter(
                "vssd_blocks_moved",
                "Blocks that changed hands",
                None,
                "way",
                &|v| {
                    let c = &v.counters;
                    named([("surrendered", c.surrendered), ("granted", c.granted)])
                },
            ),
            Family {
                name: "vssd_blocks",
                help: "Blocks of a vSSD",
                unit: None,
                kind: MetricType::Gauge,
                label: "state",
                values: &|v| {
                    named([
                        ("capacity", v.capacity.into()),
                        ("quota", v.quota.into()),
                        ("held", v.held.into()),
                        ("written", v.used.into()),
                    ])
                },
            },
            Family {
                name: "vssd_connected",
                help: "Whether a frontend is connected",
                unit: None,
                kind: MetricType::Gauge,
                label: "kind",
                values: &|v| {
                    named([
                        ("frontend", v.connected.into()),
                        ("driver", v.driver.into()),
                    ])
                },
            },
            Family {
                name: "vssd_waiting",
                help: "Whether a vSSD waits: for requests to end, or for a client's first message",
                unit: None,
                kind: MetricType::Gauge,
                label: "for",
                values: &|v| {
                    let connecting = v.connection == Connection::Connecting;
                    named([
                        ("requests", v.draining.into()),
                        ("client", connecting.into()),
                    ])
                },
            },
        ];
        for family in &families {
            self.encode_family(&mut encoder, family)?;
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
        self.encode_pool(&mut encoder)
    }
}

impl Snapshot {
    fn encode_family(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &Family<'_>,
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
            "How long requests were at the backend",
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
        let mut blocks = encoder.encode_descriptor(
            "vssd_pool_blocks",
            "Blocks of the pool",
            None,
            MetricType::Gauge,
        )?;
        for (state, value) in [
            ("places", u64::from(pool.places)),
            ("free", pool.free.into()),
            ("limbo", pool.limbo.into()),
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
                "Written to the journal",
                Some(&Unit::Bytes),
                pool.journal_bytes,
            ),
            (
                "vssd_pool_compactions",
                "How often the journal was written anew",
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
