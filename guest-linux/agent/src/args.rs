//! The options.

use std::path::PathBuf;

use clap::{ArgGroup, Parser};

use crate::size::Reserve;

/// Gives blocks of this guest's vSSD up when the host asks for them, and takes them back.
///
/// Run one agent for each vSSD. It needs root, and sleeps until the host wants something.
#[derive(Clone, Debug, Parser)]
#[command(version, group = ArgGroup::new("source").required(true))]
#[command(after_help = "\
Exit codes: 0 asked to end; 1 failed, start it again; 2 options are wrong; 3 it cannot work like \
this, and does not when it is started again.

Signals: SIGTERM and SIGINT end it, and what was given up stays so; SIGHUP makes it look at the \
file system, the cache or the list again.")]
pub struct Args {
    /// Give up free space of the file system mounted at DIR: ext4, XFS or F2FS. The blocks given up
    /// are kept in DIR/.vssd-balloon, which must not be changed.
    #[arg(long, group = "source", value_name = "DIR")]
    pub mount: Option<PathBuf>,

    /// Give up the tail of the fast device of the dm-cache NAME.
    #[arg(long, group = "source", value_name = "NAME")]
    pub dm_cache: Option<String>,

    /// Give up what FILE lists: a block (`7`) or range of blocks (`16-31`) a line, the first line
    /// first; `#` begins a comment. The file is read at each shrink.
    #[arg(long, group = "source", value_name = "FILE")]
    pub raw: Option<PathBuf>,

    /// The virtio serial port to the host, or a UNIX socket.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/dev/virtio-ports/org.vssd.0"
    )]
    pub port: PathBuf,

    /// Free space of the file system that is never given up: a size (512MiB) or a share of the file
    /// system (5%).
    #[arg(long, value_name = "SIZE|PERCENT", default_value = "5%", conflicts_with_all = ["dm_cache", "raw"])]
    pub reserve: Reserve,

    /// The disk that is the vSSD [default: the one whose serial number is the vSSD's name].
    #[arg(long, value_name = "DEVICE", conflicts_with = "raw")]
    pub disk: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn options_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn there_is_one_source() {
        for (options, is_good) in [
            (&["--mount", "/data"][..], true),
            (&["--mount", "/data", "--reserve", "1GiB"], true),
            (&["--dm-cache", "fast", "--disk", "/dev/vda"], true),
            (&["--raw", "free.txt"], true),
            (&[], false),
            (&["--mount", "/data", "--raw", "free.txt"], false),
            (&["--raw", "free.txt", "--reserve", "5%"], false),
            (&["--raw", "free.txt", "--disk", "/dev/vda"], false),
        ] {
            let args = std::iter::once("vssd-agent").chain(options.iter().copied());
            assert_eq!(Args::try_parse_from(args).is_ok(), is_good, "{options:?}");
        }
    }
}
