//! `vssdctl`: sends a request to a backend and prints the reply.

mod arbiter;
mod deadline;
mod text;
mod top;

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args as ClapArgs, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use workloads::{HostPick, Pick};

use self::arbiter::ArbiterCommand;
use self::deadline::{Deadline, parse_deadline};
use self::top::TopOptions;
use crate::block_list::{BlockList, ListError};
use crate::completions::print_completions;
use crate::control::Client;
use crate::control::protocol::{
    AdviceStatus, Change, EncodingName, Reply, Request, Resize, TrackerName,
};
use crate::output::{exit_code, print};
use crate::pool_ctl::{self, PoolCommand};
use crate::size::{Amount, ByteSize};

/// Exit code when fewer blocks moved than were asked for.
const PARTIAL: u8 = 3;

/// Exit code when all moved, some of them by force.
const FORCED: u8 = 4;

/// How long a request may take, except a resize, which takes as long as its guest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shows and changes the sizes of vSSDs while their guests run.
///
/// Sizes are e.g. 256MiB or 1GiB; a number without a unit counts blocks.
///
/// Exit code:
///   0  done, or with --no-wait started
///   1  refused or failed
///   2  usage
///   3  fewer blocks moved than requested
///   4  all blocks moved, some of them by force: their contents are lost
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

    /// Print JSON, one object per line.
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Ask(Ask),
    /// Show what every vSSD does: a view that is renewed in each interval.
    ///
    /// Sizes held, wanted by the arbiter and allowed, hit ratio, requests, MB/s and latency of the
    /// interval, resizes under way, and the last decisions of the arbiter.
    /// Keys: q quits, arrows or j and k scroll, s changes the order.
    #[command(verbatim_doc_comment)]
    Top(TopOptions),
    /// Create, show, check or remove a pool that no backend has open.
    Pool {
        #[command(subcommand)]
        command: PoolCommand,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The requests to a backend.
#[derive(Clone, Debug, Subcommand)]
enum Ask {
    /// Show every vSSD.
    Status,
    /// Show every vSSD now and after every change.
    Watch,
    /// Take blocks from a guest.
    ///
    /// The guest's vSSD driver picks them. If no driver answers, or an agent speaks for the guest,
    /// blocks are taken only with --force: their contents are lost, which breaks file systems.
    #[command(override_usage = SHRINK_USAGE)]
    Shrink {
        /// Name of the vSSD.
        vssd: String,
        /// How much to take, e.g. 256MiB; omit it with --blocks.
        #[arg(value_parser = parse_some)]
        size: Option<Amount>,
        /// Exactly which blocks to take, with --pick given: blocks and ranges such as
        /// 0-1023,4096, or a file with these in lines, or - for standard input.
        #[arg(long, value_name = "LIST|FILE|-", allow_hyphen_values = true)]
        blocks: Option<String>,
        #[command(flatten)]
        options: ResizeOptions,
    },
    /// Give blocks back to a guest; one without a vSSD driver can use them at once.
    Grow {
        /// Name of the vSSD.
        vssd: String,
        /// How much to give.
        #[arg(value_parser = parse_some)]
        size: Amount,
        #[command(flatten)]
        options: GrowOptions,
    },
    /// Shrink or grow a guest to this size.
    Resize {
        /// Name of the vSSD.
        vssd: String,
        /// Target size.
        #[arg(long)]
        to: Amount,
        #[command(flatten)]
        options: ResizeOptions,
    },
    /// Cancel the resize under way; blocks that have moved stay moved.
    Cancel {
        /// Name of the vSSD.
        vssd: String,
    },
    /// Track requests, for a `--pick` of the same name.
    #[command(alias = "observe")]
    Track {
        /// Name of the vSSD.
        vssd: String,
        /// What to track.
        #[arg(value_parser = tracker_parser())]
        tracker: TrackerName,
    },
    /// Set the encoding of block sets; the guest's driver starts a new session.
    Encoding {
        /// Name of the vSSD.
        vssd: String,
        /// The encoding.
        encoding: EncodingName,
    },
    /// Show the latency of requests, and their stalls by resizes.
    Latency {
        /// Name of the vSSD.
        vssd: String,
        /// Reset the counts afterwards.
        #[arg(long)]
        reset: bool,
    },
    /// Advise a guest's cache what to keep off its vSSD; without options, nothing.
    Advise {
        /// Name of the vSSD.
        vssd: String,
        /// Written blocks: they go to the origin disk alone.
        #[arg(long)]
        bypass_writes: bool,
        /// Blocks that have not missed before, not long ago.
        #[arg(long)]
        admit_reused: bool,
    },
    /// Ask a guest for its demand: accesses since the last report, and miss ratios by size.
    Demand {
        /// Name of the vSSD.
        vssd: String,
    },
    /// Show or change how the backend divides its pool among the vSSDs.
    Arbiter {
        #[command(subcommand)]
        command: ArbiterCommand,
    },
    /// Serve another vSSD: one that is in the pool, or with --create a new one.
    Add {
        /// As vssd-host --vssd takes it: name=NAME,socket=PATH,size=SIZE[,...].
        spec: String,
        /// Create it if the pool does not have it, like create=true in SPEC.
        #[arg(long)]
        create: bool,
    },
    /// Stop serving a vSSD; its guest loses the disk. With --delete it need not be served.
    Remove {
        /// Name of the vSSD.
        vssd: String,
        /// Delete it from the pool; its contents are lost.
        #[arg(long)]
        delete: bool,
    },
    /// Stop the backend.
    Shutdown,
}

#[derive(Clone, Debug, ClapArgs)]
struct ResizeOptions {
    /// How the blocks of a shrink are picked.
    #[arg(long, alias = "evict", value_parser = pick_parser(), default_value_t = Pick::Guest)]
    pick: Pick,
    /// Take blocks even if no vSSD driver answers, and after the deadline those of a guest with an
    /// agent: their contents are lost, which breaks file systems.
    #[arg(long)]
    force: bool,
    /// How long the guest may take to pick blocks, e.g. 5s, 500ms or none. Then the rest is taken
    /// at random.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_deadline)]
    deadline: Deadline,
    /// Do not take blocks by force after the deadline.
    #[arg(long)]
    no_revoke: bool,
    /// Do not wait for the resize to end.
    #[arg(long)]
    no_wait: bool,
    /// Seed of the hypervisor's picks.
    #[arg(long)]
    seed: Option<u64>,
}
/// Accepts the names of [`Pick`], with a help text for each.
fn pick_parser() -> impl TypedValueParser<Value = Pick> {
    let value = |pick: Pick| PossibleValue::new(pick.name()).help(pick.about());
    PossibleValuesParser::new(Pick::all().map(value)).try_map(|name| name.parse::<Pick>())
}

/// Accepts the names of [`TrackerName`], with a help text for each.
fn tracker_parser() -> impl TypedValueParser<Value = TrackerName> {
    let value = |tracker: TrackerName| PossibleValue::new(tracker.name()).help(tracker.about());
    PossibleValuesParser::new(TrackerName::all().map(value))
        .try_map(|name| name.parse::<TrackerName>())
}

/// The options of [`ResizeOptions`] that concern a grow: nothing is picked or taken.
#[derive(Clone, Debug, ClapArgs)]
struct GrowOptions {
    /// How long the guest may take to accept the blocks, e.g. 5s, 500ms or none. Then the grow
    /// ends with the blocks that have moved.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_deadline)]
    deadline: Deadline,
    /// Do not wait for the grow to end.
    #[arg(long)]
    no_wait: bool,
}

/// The two forms of a shrink.
const SHRINK_USAGE: &str = "vssdctl shrink [OPTIONS] <VSSD> <SIZE>
       vssdctl shrink [OPTIONS] <VSSD> --pick given --blocks <LIST|FILE|->";

/// An amount above zero.
fn parse_some(text: &str) -> Result<Amount, String> {
    match text.parse() {
        Ok(Amount::Blocks(0) | Amount::Bytes(ByteSize(0))) => {
            Err("the size must be at least one block".to_owned())
        }
        Ok(amount) => Ok(amount),
        Err(error) => Err(error.to_string()),
    }
}

impl ResizeOptions {
    fn request(&self, vssd: &str, change: Change) -> Request {
        Request::Resize(Resize {
            vssd: vssd.to_owned(),
            change,
            pick: self.pick,
            deadline_ms: self.deadline.0,
            revoke: !self.no_revoke,
            force: self.force,
            seed: self.seed,
            wait: !self.no_wait,
        })
    }
}

impl GrowOptions {
    fn request(&self, vssd: &str, size: Amount) -> Request {
        Request::Resize(Resize {
            deadline_ms: self.deadline.0,
            wait: !self.no_wait,
            ..Resize::new(vssd, Change::Grow(size))
        })
    }
}

/// Runs the program.
pub fn run(args: &Args) -> ExitCode {
    exit_code("vssdctl", carry_out(args))
}

/// The blocks that `--blocks` names.
fn read_blocks(given: &str) -> Result<BlockList> {
    let is_list = given
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"-, ".contains(&byte));
    let blocks = match given {
        "-" => BlockList::read(io::stdin().lock()).context("read --blocks from standard input")?,
        list if is_list => BlockList::parse(list).context("--blocks")?,
        file => {
            let read = || -> Result<_, ListError> {
                BlockList::read(io::BufReader::new(File::open(file)?))
            };
            read().with_context(|| format!("read --blocks from {file}"))?
        }
    };
    ensure!(blocks.blocks() > 0, "--blocks {given} names no block");
    Ok(blocks)
}

/// Reports incorrect usage of `subcommand` and exits.
fn misused(subcommand: &str, kind: ErrorKind, text: impl Display) -> ! {
    let mut command = Args::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(subcommand) => subcommand.error(kind, text).exit(),
        None => command.error(kind, text).exit(),
    }
}

/// The request for a shrink, and the blocks that are named before it.
fn shrink(
    vssd: &str,
    size: Option<Amount>,
    blocks: Option<&str>,
    options: &ResizeOptions,
) -> Result<(Request, Option<BlockList>)> {
    let given = options.pick == Pick::Host(HostPick::Given);
    let exactly = format!("vssdctl shrink {vssd} --pick given --blocks 0-1023,4096");
    let missing =
        |text: String| -> ! { misused("shrink", ErrorKind::MissingRequiredArgument, text) };
    let (size, blocks) = match (size, blocks) {
        (_, None) if given => missing(format!(
            "--pick given needs --blocks with the blocks to take, in place of SIZE: `{exactly}`"
        )),
        (_, Some(_)) if !given => missing(format!(
            "--blocks needs --pick given, and no SIZE: `{exactly}`"
        )),
        (Some(_), Some(_)) => misused(
            "shrink",
            ErrorKind::ArgumentConflict,
            format!("--blocks says how much to take; leave SIZE out: `{exactly}`"),
        ),
        (None, None) => missing(format!(
            "SIZE is missing: `vssdctl shrink {vssd} 256MiB`, or exactly which blocks: `{exactly}`"
        )),
        (Some(size), None) => (size, None),
        (None, Some(blocks)) => {
            let blocks = read_blocks(blocks)?;
            (Amount::Blocks(blocks.blocks()), Some(blocks))
        }
    };
    Ok((options.request(vssd, Change::Shrink(size)), blocks))
}

/// The request for a resize to a size; only a shrink takes blocks that are named.
fn resize(vssd: &str, to: Amount, options: &ResizeOptions) -> Request {
    if options.pick == Pick::Host(HostPick::Given) {
        let text = format!(
            "--pick given is for `vssdctl shrink {vssd} --pick given --blocks 0-1023,4096`"
        );
        misused("resize", ErrorKind::ArgumentConflict, text);
    }
    options.request(vssd, Change::To(to))
}

/// The same spec with the paths of its sockets made absolute: the backend may run in
/// another directory.
fn absolute_sockets(spec: &str) -> String {
    let parts = spec.split(',').map(|part| match part.split_once('=') {
        Some((key @ ("socket" | "agent"), path)) => match std::path::absolute(path) {
            Ok(path) => format!("{key}={}", path.display()),
            Err(_) => part.to_owned(),
        },
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// The request of a command, and the blocks that are named before it.
fn request_of(ask: &Ask) -> Result<(Request, Option<BlockList>)> {
    let request = match ask {
        Ask::Status => Request::Status {},
        Ask::Watch => Request::Watch {},
        Ask::Shrink {
            vssd,
            size,
            blocks,
            options,
        } => return shrink(vssd, *size, blocks.as_deref(), options),
        Ask::Grow {
            vssd,
            size,
            options,
        } => options.request(vssd, *size),
        Ask::Resize { vssd, to, options } => resize(vssd, *to, options),
        Ask::Cancel { vssd } => Request::Cancel { vssd: vssd.clone() },
        Ask::Track { vssd, tracker } => Request::Track {
            vssd: vssd.clone(),
            tracker: *tracker,
        },
        Ask::Encoding { vssd, encoding } => Request::SetEncoding {
            vssd: vssd.clone(),
            encoding: *encoding,
        },
        Ask::Latency { vssd, reset } => Request::Latency {
            vssd: vssd.clone(),
            reset: *reset,
        },
        Ask::Advise {
            vssd,
            bypass_writes,
            admit_reused,
        } => Request::Advise {
            vssd: vssd.clone(),
            advice: AdviceStatus {
                bypass_writes: *bypass_writes,
                admit_reused: *admit_reused,
            },
        },
        Ask::Demand { vssd } => Request::Demand { vssd: vssd.clone() },
        Ask::Arbiter { command } => command.request(),
        Ask::Add { spec, create } => Request::Add {
            spec: absolute_sockets(spec) + if *create { ",create=true" } else { "" },
        },
        Ask::Remove { vssd, delete } => Request::Remove {
            vssd: vssd.clone(),
            delete: *delete,
        },
        Ask::Shutdown => Request::Shutdown {},
    };
    Ok((request, None))
}

fn carry_out(args: &Args) -> Result<ExitCode> {
    let (request, named) = match &args.command {
        Command::Ask(ask) => request_of(ask)?,
        Command::Top(options) => {
            top::run(options, &args.control, args.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Pool { command } => return pool_ctl::run(command, args.json),
        Command::Completions { shell } => {
            print_completions(Args::command(), *shell)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut client = Client::connect(&args.control, Some(PATIENCE))?;
    // A resize takes as long as its guest; everything else is answered at once.
    if let Request::Resize(_) | Request::Watch {} = request {
        client.call(&Request::Ping {})?;
        client.be_patient()?;
    }
    if let (Request::Resize(resize), Some(blocks)) = (&request, named) {
        client.select(&resize.vssd, &blocks)?;
    }
    client.send(&request)?;
    loop {
        let reply = client.receive()?;
        let shown = if args.json {
            format!("{}\n", serde_json::to_string(&reply)?)
        } else {
            text::describe(&reply)
        };
        let printed = print(shown);
        if request == (Request::Watch {}) {
            printed?;
            continue;
        }
        // The exit code says how a resize ended, even if no output can be written.
        if let Reply::Resized(resized) = &reply {
            match (resized.is_complete(), resized.revoked) {
                (false, _) => return Ok(ExitCode::from(PARTIAL)),
                (true, 0) => {}
                (true, _) => return Ok(ExitCode::from(FORCED)),
            }
        }
        printed?;
        return Ok(ExitCode::SUCCESS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        crate::daemon::Args::command().debug_assert();
    }
}
