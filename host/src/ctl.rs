//! `vssdctl`: asks a backend for things and shows the answer.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::control::Client;
use crate::control::protocol::{
    Change, Connection, EncodingName, EvictName, LatencyStatus, ObserverName, Rate, Reply, Request,
    Resize, Resized, Status,
};
use crate::latency;
use crate::output::{exit_code, print};
use crate::pool_ctl::{self, PoolCommand};
use crate::size::{Amount, ByteSize};

/// Exit code when fewer blocks moved than were asked for.
const PARTIAL: u8 = 3;

/// Shows and changes the sizes of vSSDs while their guests run.
///
/// Sizes are written 256MiB or 1GiB; a number without a unit counts blocks.
/// Exit code: 0 done, 1 refused or failed, 2 usage, 3 fewer blocks moved than asked for.
#[derive(Clone, Debug, Parser)]
#[command(name = "vssdctl", version, verbatim_doc_comment)]
pub struct Args {
    /// Control socket of the backend.
    #[arg(
        long,
        env = "VSSD_CONTROL",
        value_name = "SOCKET",
        global = true,
        default_value = "vssd.sock"
    )]
    pub control: PathBuf,

    /// Print JSON, one object a line.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show every vSSD.
    Status,
    /// Show every vSSD now and after every change.
    Watch,
    /// Take blocks from a guest.
    Shrink {
        /// Name of the vSSD.
        vssd: String,
        /// How much to take, for example 256MiB.
        size: Amount,
        #[command(flatten)]
        options: ResizeOptions,
    },
    /// Give blocks back to a guest.
    Grow {
        /// Name of the vSSD.
        vssd: String,
        /// How much to give.
        size: Amount,
        #[command(flatten)]
        options: ResizeOptions,
    },
    /// Make a guest hold this much.
    Resize {
        /// Name of the vSSD.
        vssd: String,
        /// How much it is to hold.
        #[arg(long)]
        to: Amount,
        #[command(flatten)]
        options: ResizeOptions,
    },
    /// End the resize under way with what has moved so far.
    Cancel {
        /// Name of the vSSD.
        vssd: String,
    },
    /// Remember requests, for `--evict lru` or `--evict clock`.
    Observe {
        /// Name of the vSSD.
        vssd: String,
        /// What to remember.
        observer: ObserverName,
    },
    /// Set how block sets travel; the guest's driver starts over with that.
    Encoding {
        /// Name of the vSSD.
        vssd: String,
        /// The encoding.
        encoding: EncodingName,
    },
    /// Show how long requests took, and had to wait for resizes.
    Latency {
        /// Name of the vSSD.
        vssd: String,
        /// Start over after that.
        #[arg(long)]
        reset: bool,
    },
    /// Serve another vSSD: one that the pool has already, or a new one.
    Add {
        /// As vssd-host --vssd takes it: name=NAME,socket=PATH,size=SIZE[,...].
        spec: String,
    },
    /// Serve a vSSD no more; its guest's disk goes away.
    Remove {
        /// Name of the vSSD.
        vssd: String,
        /// Give its blocks back to the pool, and lose what is in them.
        #[arg(long)]
        delete: bool,
    },
    /// Make, look at, check or remove a pool that no backend has open.
    Pool {
        #[command(subcommand)]
        command: PoolCommand,
    },
    /// End the backend.
    Shutdown,
}

#[derive(Clone, Debug, ClapArgs)]
struct ResizeOptions {
    /// Who picks the blocks of a shrink.
    #[arg(long, value_enum, default_value_t = EvictName::Guest)]
    evict: EvictName,
    /// How long the guest has: 5s, 500ms, or none.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_deadline)]
    deadline: Deadline,
    /// Leave the blocks that the guest has not given up by the deadline.
    #[arg(long)]
    no_revoke: bool,
    /// Do not wait for the end.
    #[arg(long)]
    no_wait: bool,
    /// Seed of the hypervisor's own picks.
    #[arg(long)]
    seed: Option<u64>,
}

/// A deadline in milliseconds; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline(u64);

fn parse_deadline(text: &str) -> Result<Deadline, String> {
    if text == "none" {
        return Ok(Deadline(0));
    }
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 1000),
        _ => (text, 0),
    };
    match number.parse::<u64>() {
        Ok(n) if n > 0 && factor > 0 => Ok(Deadline(n.saturating_mul(factor))),
        _ => Err(format!(
            "`{text}` is no time: write for example 5s, 500ms or none"
        )),
    }
}

impl ResizeOptions {
    fn request(&self, vssd: &str, change: Change) -> Request {
        Request::Resize(Resize {
            vssd: vssd.to_owned(),
            change,
            evict: self.evict,
            deadline_ms: self.deadline.0,
            revoke: !self.no_revoke,
            seed: self.seed,
            wait: !self.no_wait,
        })
    }
}

/// Runs the program.
pub fn run(args: &Args) -> ExitCode {
    exit_code("vssdctl", carry_out(args))
}

/// The same spec with its socket's path made absolute: the backend may run in
/// another folder.
fn absolute_socket(spec: &str) -> String {
    let parts = spec
        .split(',')
        .map(|part| match part.strip_prefix("socket=") {
            Some(path) => match std::path::absolute(path) {
                Ok(path) => format!("socket={}", path.display()),
                Err(_) => part.to_owned(),
            },
            None => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join(",")
}

fn carry_out(args: &Args) -> Result<ExitCode> {
    let request = match &args.command {
        Command::Status => Request::Status {},
        Command::Watch => Request::Watch {},
        Command::Shrink {
            vssd,
            size,
            options,
        } => options.request(vssd, Change::Shrink(*size)),
        Command::Grow {
            vssd,
            size,
            options,
        } => options.request(vssd, Change::Grow(*size)),
        Command::Resize { vssd, to, options } => options.request(vssd, Change::To(*to)),
        Command::Cancel { vssd } => Request::Cancel { vssd: vssd.clone() },
        Command::Observe { vssd, observer } => Request::Observe {
            vssd: vssd.clone(),
            observer: *observer,
        },
        Command::Encoding { vssd, encoding } => Request::SetEncoding {
            vssd: vssd.clone(),
            encoding: *encoding,
        },
        Command::Latency { vssd, reset } => Request::Latency {
            vssd: vssd.clone(),
            reset: *reset,
        },
        Command::Add { spec } => Request::Add {
            spec: absolute_socket(spec),
        },
        Command::Remove { vssd, delete } => Request::Remove {
            vssd: vssd.clone(),
            delete: *delete,
        },
        Command::Pool { command } => return pool_ctl::run(command, args.json),
        Command::Shutdown => Request::Shutdown {},
    };
    // A resize takes as long as its guest; everything else answers at once.
    let timeout = match request {
        Request::Resize(_) | Request::Watch {} => None,
        _ => Some(Duration::from_secs(10)),
    };
    let mut client = Client::connect(&args.control, timeout)?;
    client.send(&request)?;
    loop {
        let reply = client.receive()?;
        let text = match args.json {
            true => format!("{}\n", serde_json::to_string(&reply)?),
            false => describe(&reply),
        };
        let printed = print(text);
        if request == (Request::Watch {}) {
            printed?;
            continue;
        }
        // How a resize ended is in the exit code, even where no output can be written.
        if let Reply::Resized(resized) = &reply
            && !resized.is_complete()
        {
            return Ok(ExitCode::from(PARTIAL));
        }
        printed?;
        return Ok(ExitCode::SUCCESS);
    }
}

fn describe(reply: &Reply) -> String {
    match reply {
        Reply::Ok => "done\n".to_owned(),
        Reply::Status(status) => describe_status(status),
        Reply::Started { id } => format!("resize {id}\n"),
        Reply::Resized(resized) => describe_resized(resized),
        Reply::Latency(latency) => describe_latency(latency),
        Reply::Error { message } => format!("{message}\n"),
    }
}

fn describe_resized(resized: &Resized) -> String {
    let (verb, moved) = match resized.held < resized.from {
        true => ("took", resized.from - resized.held),
        false => ("gave", resized.held - resized.from),
    };
    let wanted = resized.from.abs_diff(resized.target);
    let mut text = format!(
        "{}: {verb} {moved} of {wanted} blocks in {:.1} ms ({} exchanges), guest holds {}",
        resized.end,
        resized.elapsed_ns as f64 / 1e6,
        resized.exchanges,
        resized.held
    );
    if resized.revoked > 0 {
        let _ = write!(text, "; {} were revoked", resized.revoked);
    }
    text.push_str(match resized.agreed {
        true => "; both lists agree\n",
        false => "; the guest has not confirmed its list\n",
    });
    text
}

fn describe_latency(status: &LatencyStatus) -> String {
    let mut text = format!(
        "{:<9} {:<6} {:>10} {:>12} {:>12} {:>12} {:>12}\n",
        "DURING", "OP", "REQUESTS", "P50 (us)", "P99 (us)", "P99.9 (us)", "MAX (us)"
    );
    let micros = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
    for during in &status.activities {
        for of in during.operations.iter().filter(|of| !of.buckets.is_empty()) {
            let mut service = latency::histogram();
            latency::add(&mut service, &of.buckets);
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| micros(service.value_at_quantile(q)));
            let _ = writeln!(
                text,
                "{:<9} {:<6} {:>10} {p50:>12} {p99:>12} {p999:>12} {:>12}",
                during.activity.label(),
                of.operation.label(),
                service.len(),
                micros(service.max()),
            );
        }
    }
    let _ = writeln!(text, "{:<9} {:>17}", "DURING", "STALL MAX (us)");
    for during in &status.activities {
        let stall = micros(during.longest_stall_ns);
        let _ = writeln!(text, "{:<9} {stall:>17}", during.activity.label());
    }
    text
}

fn describe_status(status: &Status) -> String {
    let pool = &status.pool;
    let bytes = |blocks: u64| ByteSize(blocks * u64::from(pool.block_size));
    let mut text = format!(
        "pool {}: {} of {} free, {} of {} committed\n",
        status.backing,
        bytes(pool.free.into()),
        bytes(pool.places.into()),
        bytes(pool.committed),
        bytes(pool.limit),
    );
    if let Some(wear) = pool.media {
        let _ = writeln!(
            text,
            "medium: {} written for {} asked for ({:.2} times), {} erases, {:.1} cycles at most",
            ByteSize(wear.media_bytes),
            ByteSize(wear.host_bytes),
            wear.write_amplification,
            wear.erases,
            wear.cycles_max
        );
    }
    let _ = writeln!(
        text,
        "{:<20} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  {:<10} {:<11} RESIZE",
        "NAME", "SIZE", "QUOTA", "HELD", "WRITTEN", "READS/S", "WRITES/S", "GUEST", "LISTS"
    );
    for vssd in &status.vssds {
        let bytes = |blocks: u32| ByteSize(u64::from(blocks) * u64::from(vssd.block_size));
        let guest = match (vssd.connection, vssd.driver) {
            (Connection::None, _) => "none",
            (Connection::Connecting, _) => "connecting",
            (Connection::Connected, false) => "plain",
            (Connection::Connected, true) => "vssd",
        };
        // Over the last second.
        let rates = vssd.rates.first();
        let [reads, writes] =
            [|r: &Rate| r.reads, |r: &Rate| r.writes].map(|of| rates.map_or(0.0, of).round());
        let lists = if vssd.agreed { "agreed" } else { "unconfirmed" };
        let resize = vssd.resize.as_ref().map_or("-".to_owned(), |resize| {
            format!("{} to {}", resize.phase, bytes(resize.target))
        });
        let draining = if vssd.draining { ", draining" } else { "" };
        let _ = writeln!(
            text,
            "{:<20} {:>9} {:>9} {:>9} {:>9} {reads:>9} {writes:>9}  {guest:<10} {lists:<11} {resize}{draining}",
            vssd.name,
            bytes(vssd.capacity).to_string(),
            bytes(vssd.quota).to_string(),
            bytes(vssd.held).to_string(),
            bytes(vssd.used).to_string(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        crate::daemon::Args::command().debug_assert();
    }

    #[test]
    fn deadlines_have_units() {
        assert_eq!(parse_deadline("5s"), Ok(Deadline(5000)));
        assert_eq!(parse_deadline("50ms"), Ok(Deadline(50)));
        assert_eq!(parse_deadline("none"), Ok(Deadline(0)));
        for text in ["", "5", "0s", "s", "-1s"] {
            assert!(parse_deadline(text).is_err(), "{text}");
        }
    }
}
