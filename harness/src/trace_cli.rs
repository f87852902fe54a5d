//! `harness trace`: describes traces and converts them to trace disks.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use simulate::trace::advice::{Purpose, advise};
use simulate::trace::image::convert;
use simulate::trace::info::Info;
use simulate::trace::options::ReadArgs;
use terminal::output::Output;

use crate::cli::options::JsonArg;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Convert a trace to a trace disk, from which a guest replays it block by block.
    ///
    /// Each request becomes one access to each 4 KiB block that it touches; an access takes
    /// 8 bytes on the disk. The guest attaches the disk read-only, as its third. Memory use does
    /// not depend on the trace, except for oracle-general: its ids are kept in memory, up to
    /// 33554432 of them.
    ///
    /// Examples:
    ///   harness trace convert disk.vscsi disk.trace
    ///   harness trace convert hm_0.csv.gz hm_0.trace --times sort:1000 --disk 40GiB --beyond skip
    #[command(verbatim_doc_comment)]
    Convert(ConvertArgs),
    /// Describe a trace or a trace disk.
    ///
    /// The number of distinct blocks is exact up to four million, and an estimate above.
    ///
    /// Examples:
    ///   harness trace info disk.vscsi
    ///   harness trace info w82.oracleGeneral.zst --limit 1000000 --json
    #[command(verbatim_doc_comment)]
    Info(InfoArgs),
}

/// Arguments of `harness trace convert`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Block trace: vscsi, oracle-general, spc, msr, lis or csv; may be compressed (gz, zst, bz2,
    /// xz).
    #[arg(value_name = "FILE")]
    trace: PathBuf,
    /// Trace disk to create.
    #[arg(value_name = "OUT")]
    image: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Arguments of `harness trace info`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InfoArgs {
    /// Block trace or trace disk: vscsi, oracle-general, spc, msr, lis, csv or trace-disk; may be
    /// compressed (gz, zst, bz2, xz).
    #[arg(value_name = "FILE")]
    trace: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs a command and prints its result.
///
/// # Errors
/// When the trace cannot be read to its end, or the image cannot be written.
pub(crate) fn run(command: &TraceCommand, stdout: &mut Output) -> Result<()> {
    match command {
        TraceCommand::Info(InfoArgs { trace, read, json }) => {
            let options = read.options()?;
            let progress = json.progress();
            let info = Info::read(trace, options, progress)
                .map_err(|error| advise(error, trace, read, Purpose::Count, progress))?;
            if json.json {
                stdout.line(serde_json::to_string_pretty(&info)?);
            } else {
                stdout.text(info);
            }
        }
        TraceCommand::Convert(ConvertArgs {
            trace,
            image,
            read,
            json,
        }) => {
            let options = read.options()?;
            let progress = json.progress();
            let made = convert(trace, options, image, progress)
                .map_err(|error| advise(error, trace, read, Purpose::Image, progress))?;
            let info = Info::new(trace, &made.summary, made.distinct);
            if json.json {
                let line = serde_json::json!({
                    "image": image,
                    "image_bytes": made.image_bytes,
                    "trace": info,
                });
                stdout.line(serde_json::to_string_pretty(&line)?);
            } else {
                stdout.line(format_args!(
                    "{info}{:<10} {}, {} bytes",
                    "image",
                    image.display(),
                    made.image_bytes
                ));
            }
        }
    }
    Ok(())
}
