//! How often each region of a medium that is written in place was written.

use super::Wear;

/// Bytes in a region.
const REGION: u64 = 2 << 20;

/// Bytes written, by region.
#[derive(Debug)]
pub struct Regions {
    len: u64,
    written: Vec<u64>,
    host_bytes: u64,
}

impl Regions {
    pub fn new(len: u64) -> Self {
        Self {
            len,
            written: vec![0; len.div_ceil(REGION) as usize],
            host_bytes: 0,
        }
    }

    /// Requests wrote `host_bytes`, for which the medium wrote all from `begin` to `end`.
    pub fn write(&mut self, host_bytes: u64, begin: u64, end: u64) {
        self.host_bytes += host_bytes;
        let end = end.min(self.len.next_multiple_of(REGION));
        let mut at = begin;
        while at < end {
            let next = end.min((at / REGION + 1) * REGION);
            self.written[(at / REGION) as usize] += next - at;
            at = next;
        }
    }

    /// The resulting wear of the medium.
    pub fn wear(&self) -> Wear {
        let media_bytes: u64 = self.written.iter().sum();
        let most = self.written.iter().max().copied().unwrap_or(0);
        let all = (self.written.len().max(1) as u64 * REGION) as f64;
        Wear {
            cycles_max: most as f64 / REGION as f64,
            cycles_mean: media_bytes as f64 / all,
            limit: None,
            host_bytes: self.host_bytes,
            media_bytes,
            write_amplification: match self.host_bytes {
                0 => 1.0,
                host_bytes => media_bytes as f64 / host_bytes as f64,
            },
            erases: 0,
        }
    }
}
