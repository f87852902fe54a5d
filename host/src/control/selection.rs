//! The blocks that a client names for its next shrink.
//!
//! A line of the protocol is short and a list of blocks may be long. So the list comes before the
//! resize, in as many lines as it takes, and is kept as a bitmap of the vSSD: its size is bounded
//! by that of the vSSD, whatever the client sends.

use vssd::block_set::BlockSet;

use super::protocol::Change;
use crate::block_list::BlockList;
use crate::causes::Causes;
use crate::size::{Amount, Blocks};
use crate::vssd::Vssd;

/// The blocks that one client has named.
#[derive(Debug, Default)]
pub struct Selection(Option<(String, BlockSet)>);

impl Selection {
    /// Adds a list of blocks of `vssd`. Those of another vSSD are forgotten.
    ///
    /// # Errors
    /// When the list is invalid, or a block lies beyond the vSSD.
    pub fn add(&mut self, vssd: &Vssd, list: &str) -> Result<(), String> {
        let list = BlockList::parse(list).map_err(|error| Causes(&error).to_string())?;
        let kept = self.0.take().filter(|(name, _)| *name == vssd.name);
        let (_, blocks) = self.0.insert(kept.unwrap_or_else(|| {
            let blocks = BlockSet::empty(vssd.geometry.capacity());
            (vssd.name.clone(), blocks)
        }));
        list.add_to(blocks)
            .map_err(|error| Causes(&error).to_string())
    }

    /// The blocks named of `vssd`, for a resize that takes exactly these; clears the selection.
    ///
    /// # Errors
    /// When none is named, or `change` is not a shrink by as many blocks.
    pub fn take(&mut self, vssd: &Vssd, change: Change) -> Result<BlockSet, String> {
        let named = self.0.take().filter(|(name, _)| *name == vssd.name);
        let (_, blocks) = named.ok_or_else(|| {
            format!(
                "no blocks of {} are given: name them with `vssdctl shrink {} --pick given \
                 --blocks LIST`",
                vssd.name, vssd.name
            )
        })?;
        let block_size = vssd.geometry.block_size();
        let of = |count| Blocks { count, block_size };
        let given = u64::from(blocks.len());
        match change {
            Change::Shrink(amount) if amount.in_blocks(block_size) == Ok(given) => Ok(blocks),
            Change::Shrink(Amount::Blocks(count)) => Err(format!(
                "--blocks names {}, but the request takes {}",
                of(given),
                of(count)
            )),
            _ => Err(format!(
                "the request must take what --blocks names: {}",
                of(given)
            )),
        }
    }
}
