//! Several volumes of one trace, laid side by side on one disk.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::Problem;

/// A trace of more volumes than this is not one that a disk replays.
const VOLUMES_MAX: usize = 1024;

/// Gives each volume room of its own, in the order of their first requests:
/// the first begins at 0, whatever its number, so that a trace of one volume
/// keeps its addresses.
pub(super) struct Volumes {
    volume_bytes: u64,
    known: BTreeMap<(Vec<u8>, u64), u64>,
    // Most requests are to the volume of the request before.
    last: Option<((Vec<u8>, u64), u64)>,
}

impl Volumes {
    pub(super) fn new(volume_bytes: u64) -> Self {
        Self {
            volume_bytes,
            known: BTreeMap::new(),
            last: None,
        }
    }

    /// How many there were so far.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Where on the disk a range of a volume begins.
    pub(super) fn place(
        &mut self,
        host: &[u8],
        number: u64,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<u64, Problem> {
        let volume_bytes = self.volume_bytes;
        let end_bytes = offset_bytes
            .checked_add(length_bytes)
            .ok_or(Problem::Overflow("the end of the request"))?;
        if end_bytes > volume_bytes {
            return Err(Problem::BeyondVolume {
                end_bytes,
                volume_bytes,
            });
        }
        self.index(host, number)?
            .checked_mul(volume_bytes)
            .and_then(|base| base.checked_add(offset_bytes))
            .ok_or(Problem::Overflow("the place of the volume"))
    }

    fn index(&mut self, host: &[u8], number: u64) -> Result<u64, Problem> {
        if let Some(((last_host, last_number), index)) = &self.last
            && last_host == host
            && *last_number == number
        {
            return Ok(*index);
        }
        let key = (host.to_vec(), number);
        let count = self.known.len();
        let index = match self.known.get(&key) {
            Some(index) => *index,
            None if count == VOLUMES_MAX => return Err(Problem::TooManyVolumes(VOLUMES_MAX)),
            None => {
                self.known.insert(key.clone(), count as u64);
                count as u64
            }
        };
        self.last = Some((key, index));
        Ok(index)
    }
}
