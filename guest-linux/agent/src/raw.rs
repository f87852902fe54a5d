//! A source for an application that manages the blocks of the disk itself: a file lists those that
//! it can miss.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use vssd::block_set::{BlockSet, Run};

use crate::error::{During, Error, Result};
use crate::source::{Choice, Source, View};

/// Longest line of a list, bytes. What the agent reads is bounded.
const LINE_MAX: u64 = 4096;

/// See the module. The file is read line by line at each shrink, so that it may change, and be as
/// long as it wants.
#[derive(Debug)]
pub struct RawList {
    path: PathBuf,
}

impl RawList {
    /// A source by the list at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        File::open(path).during(|| format!("open {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The first `count` blocks of the list that are held.
    fn first(&self, held: &BlockSet, count: u32) -> Result<BlockSet> {
        let name = self.path.display();
        let mut list = BufReader::new(File::open(&self.path).during(|| format!("open {name}"))?);
        let mut chosen = BlockSet::empty(held.capacity());
        let mut line = String::new();
        for number in 1_u64.. {
            line.clear();
            let mut rest = (&mut list).take(LINE_MAX);
            let len = rest
                .read_line(&mut line)
                .during(|| format!("read {name}"))?;
            if len == 0 {
                break;
            }
            if len as u64 == LINE_MAX {
                return Err(Error::refused(format_args!(
                    "{name}, line {number}: longer than {LINE_MAX} bytes"
                )));
            }
            let run = parse(&line).map_err(|_| {
                Error::refused(format_args!(
                    "{name}, line {number}: invalid blocks `{}`; expected e.g. 7 or 16-31",
                    line.trim()
                ))
            })?;
            let Some(run) = run else { continue };
            if u64::from(run.start) + u64::from(run.len) > held.capacity().into() {
                return Err(Error::refused(format_args!(
                    "{name}, line {number}: `{}` is beyond the last block, {}",
                    line.trim(),
                    held.capacity() - 1
                )));
            }
            take(&mut chosen, held, run, count);
            if chosen.len() == count {
                break;
            }
        }
        Ok(chosen)
    }
}

/// Adds the first blocks of `run` that are held, as long as there are at most `count`.
fn take(chosen: &mut BlockSet, held: &BlockSet, run: Run, count: u32) {
    let mut from = run.start;
    while chosen.len() < count {
        let Some(start) = held.next_in(from).filter(|start| *start < run.end()) else {
            return;
        };
        let end = held.next_out(start).unwrap_or(held.capacity());
        // A range within this may be chosen already: then fewer are added than fit.
        let len = (end.min(run.end()) - start).min(count - chosen.len());
        chosen.insert_range(start, len);
        from = start + len;
    }
}

struct Invalid;

/// The blocks of a line; `None` in one without any.
fn parse(line: &str) -> std::result::Result<Option<Run>, Invalid> {
    let text = line.split('#').next().unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let block = |text: &str| text.trim().parse::<u32>().map_err(|_| Invalid);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (block(first)?, block(last)?),
        None => (block(text)?, block(text)?),
    };
    let len = last.checked_sub(first).and_then(|more| more.checked_add(1));
    Ok(Some(Run {
        start: first,
        len: len.ok_or(Invalid)?,
    }))
}

impl Source for RawList {
    fn listed(&mut self, _view: View<'_>) -> Result<()> {
        Ok(())
    }

    fn choose(&mut self, held: &BlockSet, count: u32) -> Result<Choice> {
        Ok(Choice::Last(self.first(held, count)?))
    }

    fn release(&mut self, _held: &BlockSet) -> Result<()> {
        Ok(())
    }

    fn lost(&mut self, _view: View<'_>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn chosen(list: &str, held: &BlockSet, count: u32) -> std::result::Result<Vec<u32>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(list.as_bytes()).unwrap();
        let source = RawList::open(file.path()).unwrap();
        let chosen = source
            .first(held, count)
            .map_err(|error| error.to_string())?;
        Ok(chosen.iter().collect())
    }

    #[test]
    fn the_first_lines_go_first() {
        let all = BlockSet::full(64);
        let list = "# free\n\n60-63\n7 # a block\n 0 - 3 \n60\n";
        assert_eq!(chosen(list, &all, 5).unwrap(), [7, 60, 61, 62, 63]);
        assert_eq!(chosen(list, &all, 6).unwrap(), [0, 7, 60, 61, 62, 63]);
        assert_eq!(chosen(list, &all, 64).unwrap().len(), 9);
        assert_eq!(chosen("", &all, 1).unwrap(), []);
    }

    #[test]
    fn blocks_that_are_gone_are_passed_over() {
        let mut held = BlockSet::full(64);
        held.remove_range(10, 5);
        assert_eq!(chosen("8-20\n", &held, 4).unwrap(), [8, 9, 15, 16]);
        assert_eq!(chosen("8-20\n8-20\n1\n", &held, 64).unwrap().len(), 9);
    }

    #[test]
    fn a_bad_line_is_named_and_nothing_is_given_up() {
        let all = BlockSet::full(64);
        for (list, words) in [
            ("1\nx\n", "line 2: invalid blocks `x`"),
            ("5-4\n", "line 1: invalid blocks `5-4`"),
            ("0-4294967295\n", "line 1"),
            ("-1\n", "line 1"),
            ("64\n", "line 1: `64` is beyond the last block, 63"),
            ("1\n60-64\n", "line 2: `60-64` is beyond"),
        ] {
            let said = chosen(list, &all, 64).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        let long = "7".repeat(LINE_MAX as usize + 1);
        assert!(chosen(&long, &all, 1).unwrap_err().contains("longer than"));
    }
}
