//! What was wrong with a request, as far as the data show.

use vssd_host::control::protocol::VssdStatus;
use workloads::report::{StressFault, Wrong};
use workloads::{Content, Report};

use super::rows::SharingFaultRow;
use crate::experiments::common::reports::all;

/// Bytes in a word of a block's contents.
const WORD_LEN: u64 = 8;

/// What the VMs write.
pub(super) struct Origins {
    /// The contents of each VM.
    pub(super) vms: Vec<(String, Content)>,
    /// Blocks of each.
    pub(super) blocks: u32,
    /// Bytes in a block.
    pub(super) block_size: u64,
}

impl Origins {
    /// The write that a word of a block comes from.
    fn of(&self, index: u64, word: u64) -> String {
        if word == 0 {
            return "zeros".to_owned();
        }
        let found = self.vms.iter().find_map(|(name, content)| {
            let (block, version) = content.find(index, word, self.blocks)?;
            Some(format!("version {version} of block {block} of {name}"))
        });
        found.unwrap_or_else(|| "unknown".to_owned())
    }

    /// The faults among the reports of a guest.
    pub(super) fn rows(
        &self,
        reports: &[Report],
        (round, after): (u32, &str),
        status: &VssdStatus,
    ) -> Vec<SharingFaultRow> {
        let last = self.block_size / WORD_LEN - 1;
        let rows = all(reports).map(|fault: &StressFault| {
            let (first_word, last_word) = match fault.wrong {
                Wrong::OtherData {
                    first_word,
                    last_word,
                } => (self.of(0, first_word), self.of(last, last_word)),
                Wrong::ReadFailed | Wrong::WriteFailed => Default::default(),
            };
            SharingFaultRow {
                round,
                after: after.to_owned(),
                vssd: status.name.clone(),
                block: fault.block,
                wrong: fault.wrong.to_string(),
                expected: match fault.expected {
                    Some(0) => "zeros".to_owned(),
                    Some(version) => format!("version {version}"),
                    None => "unknown".to_owned(),
                },
                first_word,
                last_word,
                after_requests: fault.after_requests,
                no_space_requests: status.counters.no_space,
                io_error_requests: status.counters.io_errors,
            }
        });
        rows.collect()
    }
}

/// A fault in words.
pub(super) fn describe(fault: &SharingFaultRow) -> String {
    let SharingFaultRow {
        round,
        after,
        vssd,
        block,
        wrong,
        expected,
        first_word,
        last_word,
        after_requests,
        no_space_requests,
        io_error_requests,
    } = fault;
    let found = if first_word.is_empty() {
        format!(
            "the backend counted {no_space_requests} requests without space and \
             {io_error_requests} I/O errors"
        )
    } else {
        format!("expected {expected}, found {first_word} (first word) and {last_word} (last word)")
    };
    format!(
        "{wrong} at block {block} of {vssd} in round {round} ({after}), after {after_requests} \
         requests: {found}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_traced_to_the_vm_that_wrote_it() {
        let origins = Origins {
            vms: vec![
                ("vm1".to_owned(), Content::new(1)),
                ("vm2".to_owned(), Content::new(2)),
            ],
            blocks: 10,
            block_size: 4096,
        };
        let mut bytes = [0; 4096];
        Content::new(2).fill(7, 3, &mut bytes);
        let word = |index: usize| u64::from_le_bytes(bytes[8 * index..][..8].try_into().unwrap());
        let expected = "version 3 of block 7 of vm2";
        assert_eq!(origins.of(0, word(0)), expected);
        assert_eq!(origins.of(511, word(511)), expected);
        assert_eq!(origins.of(510, word(511)), "unknown");
        assert_eq!(origins.of(0, 0), "zeros");
    }
}
