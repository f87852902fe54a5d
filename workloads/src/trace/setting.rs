//! Settings that only some formats have a use for.

use core::fmt;

use super::{Format, Ids, Options};

/// A part of [`Options`] that does nothing for the traces of some formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// [`Options::ids`].
    Ids,
    /// [`Options::volume_bytes`].
    Volumes,
    /// [`Options::length_bytes_max`].
    Length,
    /// [`Options::order`].
    Times,
}

impl Setting {
    /// Whether it can change how a trace of this format is read.
    pub(super) fn is_used(self, format: Format, options: &Options) -> bool {
        match self {
            Self::Ids => format == Format::OracleGeneral,
            Self::Volumes => matches!(format, Format::Spc | Format::Msr),
            Self::Length => match format {
                Format::TraceDisk => false,
                Format::OracleGeneral => options.ids != Ids::Objects,
                Format::Vscsi | Format::Spc | Format::Msr | Format::Lis | Format::Csv => true,
            },
            Self::Times => !matches!(format, Format::Lis | Format::TraceDisk),
        }
    }

    /// Writes why it has no use for a format.
    pub(super) fn why_unused(self, format: Format, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, format) {
            (Self::Ids, _) => write!(f, "a trace of format {format} has no object ids"),
            (Self::Volumes, Format::TraceDisk) => {
                f.write_str("the volumes of a trace disk are laid out already")
            }
            (Self::Volumes, _) => write!(f, "a trace of format {format} has no volumes"),
            (Self::Length, Format::OracleGeneral) => {
                f.write_str("each object counts as one block, whatever its size")
            }
            (Self::Length, _) => write!(f, "each request of format {format} is one block"),
            (Self::Times, _) => write!(f, "a trace of format {format} has no times"),
        }
    }
}
