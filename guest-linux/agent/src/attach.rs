//! From options to a source of blocks. What can be checked without the host is checked before the
//! channel is opened.

use crate::args::Args;
use crate::error::Result;
use crate::raw::RawList;
use crate::session::Attach;

/// What finds the source that the options ask for.
///
/// # Errors
/// When there is no such source here.
pub fn source(args: &Args) -> Result<Attach> {
    if let Some(list) = &args.raw {
        RawList::open(list)?;
        let list = list.clone();
        return Ok(Box::new(move |_| Ok(Box::new(RawList::open(&list)?))));
    }
    unreachable!("clap asks for one source")
}
