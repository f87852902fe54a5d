//! Lists of blocks as text: `0-1023,4096`.

use std::fmt::Write as _;
use std::io::{self, BufRead};

use vssd::block_set::BlockSet;

/// Why a list of blocks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// An item is neither a block nor a range.
    #[error("invalid block or range `{0}`; expected e.g. 4096 or 0-1023")]
    Item(String),
    /// A range ends before it begins.
    #[error("invalid range `{0}`: its end is below its start")]
    Backwards(String),
    /// The same, in a line of a file.
    #[error("line {line}")]
    Line {
        /// The number of the line, from 1.
        line: u64,
        /// What is wrong there.
        source: Box<ListError>,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A block lies beyond the vSSD.
    #[error("block {block} lies beyond the vSSD, whose last block is {last}")]
    Beyond {
        /// The block.
        block: u32,
        /// The last block of the vSSD.
        last: u32,
    },
}

/// What some editors put before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The first and the last of blocks in a row.
type Span = (u32, u32);

/// Blocks in any order; one that is named twice counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockList {
    /// In ascending order, with gaps between them.
    spans: Vec<Span>,
}

fn item(text: &str) -> Result<Span, ListError> {
    let number = |digits: &str| {
        let digits = digits.trim();
        // Not +5, which is a number as well.
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let span = match text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(text).map(|block| (block, block)),
    };
    match span {
        Some((first, last)) if first > last => Err(ListError::Backwards(text.trim().to_owned())),
        Some(span) => Ok(span),
        None => Err(ListError::Item(text.trim().to_owned())),
    }
}

impl BlockList {
    /// Reads blocks and ranges with commas between them.
    ///
    /// # Errors
    /// When one of them is invalid.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let spans = text.split(',').map(item).collect::<Result<_, _>>()?;
        Ok(Self::of(spans))
    }

    /// Reads a file: the same in lines, of which empty ones and what follows a `#` do not
    /// count, nor does a byte order mark.
    ///
    /// # Errors
    /// When a line has something else, or the file cannot be read.
    pub fn read(file: impl BufRead) -> Result<Self, ListError> {
        let mut spans = Vec::new();
        for (line, text) in (1..).zip(file.lines()) {
            let text = text?;
            let text = match line {
                1 => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text),
                _ => &text,
            };
            let items = text.split('#').next().unwrap_or_default();
            let items = items.split(',').map(str::trim);
            for text in items.filter(|item| !item.is_empty()) {
                spans.push(item(text).map_err(|source| ListError::Line {
                    line,
                    source: Box::new(source),
                })?);
            }
        }
        Ok(Self::of(spans))
    }

    fn of(mut spans: Vec<Span>) -> Self {
        spans.sort_unstable();
        spans.dedup_by(|next, span| {
            let joins = u64::from(next.0) <= u64::from(span.1) + 1;
            if joins {
                span.1 = span.1.max(next.1);
            }
            joins
        });
        Self { spans }
    }

    /// How many blocks it names.
    pub fn blocks(&self) -> u64 {
        let counts = self.spans.iter();
        counts
            .map(|(first, last)| u64::from(last - first) + 1)
            .sum()
    }

    /// The same list in texts of at most `most` bytes, for as long as a range fits.
    pub fn texts(&self, most: usize) -> Vec<String> {
        let mut texts = Vec::new();
        let mut text = String::new();
        let mut next = String::new();
        for &(first, last) in &self.spans {
            next.clear();
            // Writing to a string cannot fail.
            let _ = if first == last {
                write!(next, "{first}")
            } else {
                write!(next, "{first}-{last}")
            };
            if !text.is_empty() && text.len() + 1 + next.len() > most {
                texts.push(std::mem::take(&mut text));
            }
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&next);
        }
        if !text.is_empty() {
            texts.push(text);
        }
        texts
    }

    /// Adds the blocks to a set.
    ///
    /// # Errors
    /// When one lies beyond it; then none was added.
    pub fn add_to(&self, blocks: &mut BlockSet) -> Result<(), ListError> {
        let capacity = blocks.capacity();
        if let Some(&(first, last)) = self.spans.last()
            && last >= capacity
        {
            return Err(ListError::Beyond {
                block: first.max(capacity),
                last: capacity.saturating_sub(1),
            });
        }
        for &(first, last) in &self.spans {
            blocks.insert_range(first, last - first + 1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn lists_are_read_in_any_order() {
        let list = BlockList::parse("4096, 0-3,2-7 ,8").unwrap();
        assert_eq!(list.spans, [(0, 8), (4096, 4096)]);
        assert_eq!(list.blocks(), 10);
        let file = "# picked by hand\n8\n\n0-3,2-7 # overlap\r\n  4096\n";
        assert_eq!(BlockList::read(file.as_bytes()).unwrap(), list);
        assert_eq!(BlockList::read(&b""[..]).unwrap(), BlockList::default());
        let all = BlockList::parse("0-4294967295").unwrap();
        assert_eq!(all.blocks(), 1 << 32);
    }

    #[test]
    fn an_invalid_list_is_an_error_with_its_place() {
        for (text, word) in [
            ("", "``"),
            ("1,,2", "``"),
            ("1-", "`1-`"),
            ("-1", "`-1`"),
            ("+1", "`+1`"),
            ("x", "`x`"),
            ("1-2-3", "`1-2-3`"),
            ("4294967296", "`4294967296`"),
            ("7-3", "below its start"),
        ] {
            let error = BlockList::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = BlockList::read(&b"1\n2\n3 4\n"[..]).unwrap_err();
        assert_eq!(error.to_string(), "line 3");
        assert!(error.source().unwrap().to_string().contains("`3 4`"));
    }

    #[test]
    fn a_set_that_is_too_small_is_left_alone() {
        let mut blocks = BlockSet::empty(100);
        let list = BlockList::parse("3,98-101").unwrap();
        let error = list.add_to(&mut blocks).unwrap_err().to_string();
        assert!(error.contains("block 100 lies beyond"), "{error}");
        assert!(error.contains("is 99"), "{error}");
        assert!(blocks.is_empty());
        BlockList::parse("0,98-99")
            .unwrap()
            .add_to(&mut blocks)
            .unwrap();
        assert_eq!(blocks.iter().collect::<Vec<_>>(), [0, 98, 99]);
    }

    /// Cut into short texts and put together again, a list is the same.
    #[test]
    fn texts_together_are_the_list() {
        for seed in 0..50 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut blocks = BlockSet::empty(1000);
            for _ in 0..rng.random_range(1..200) {
                let first = rng.random_range(0..1000);
                blocks.insert_range(first, rng.random_range(1..=(1000 - first).min(5)));
            }
            let spans = blocks.runs().map(|run| (run.start, run.end() - 1));
            let list = BlockList::of(spans.collect());
            let most = rng.random_range(9..60);
            let mut again = BlockSet::empty(1000);
            for text in list.texts(most) {
                assert!(text.len() <= most, "seed {seed}: {text}");
                BlockList::parse(&text).unwrap().add_to(&mut again).unwrap();
            }
            assert_eq!(again, blocks, "seed {seed}");
        }
    }
}
