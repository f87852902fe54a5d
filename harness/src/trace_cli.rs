//! `harness trace`: what is in a trace, and a trace as a disk for a guest.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use simulate::trace::advice::{Purpose, advise};
use simulate::trace::image::convert;
use simulate::trace::info::Info;
use simulate::trace::options::ReadArgs;
use terminal::talk::Talk;

use crate::cli::JsonArg;

/// What can be done with a trace.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// Make a disk of a trace, from which a guest replays it block by block.
    ///
    /// A request becomes an access to each block of 4 KiB that it touches, 8 bytes each. The
    /// disk is the guest's third one, read-only. Memory does not depend on the trace, but of
    /// oracle-general: its ids are kept, up to 33554432 of them.
    ///
    /// Examples:
    ///   harness trace convert disk.vscsi disk.trace
    ///   harness trace convert hm_0.csv.gz hm_0.trace --times sort:1000 --disk 40GiB --beyond skip
    #[command(verbatim_doc_comment)]
    Convert(ConvertArgs),
    /// Describe a trace, or a disk made of one.
    ///
    /// Different blocks are counted up to four million, and estimated beyond that.
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
    /// The trace: vscsi, oracle-general, spc, msr or csv, also compressed (gz, zst,
    /// bz2, xz).
    #[arg(value_name = "FILE")]
    trace: PathBuf,
    /// The disk, a new file.
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
    /// The trace: vscsi, oracle-general, spc, msr or csv, also compressed (gz, zst,
    /// bz2, xz).
    #[arg(value_name = "FILE")]
    trace: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Carries one out and prints what there is to say.
///
/// # Errors
/// When the trace cannot be read to its end, or the image cannot be written.
pub(crate) fn run(command: &TraceCommand, talk: &mut Talk) -> Result<()> {
    match command {
        TraceCommand::Info(InfoArgs { trace, read, json }) => {
            let options = read.options()?;
            let progress = json.progress();
            let info = Info::read(trace, options, progress)
                .map_err(|error| advise(error, trace, read, Purpose::Count, progress))?;
            match json.json {
                true => talk.line(serde_json::to_string_pretty(&info)?),
                false => talk.say(info),
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
            match json.json {
                true => {
                    let line = serde_json::json!({
                        "image": image,
                        "image_bytes": made.image_bytes,
                        "trace": info,
                    });
                    talk.line(serde_json::to_string_pretty(&line)?);
                }
                false => talk.line(format_args!(
                    "{info}{:<10} {}, {} bytes",
                    "image",
                    image.display(),
                    made.image_bytes
                )),
            }
        }
    }
    Ok(())
}
