//! What a driver reports of its application's demand: accesses, and miss ratios by the number of
//! blocks (SPEC.md, sections 4.10 and 6.10).

use alloc::vec::Vec;

use zerocopy::{FromBytes, IntoBytes};

use crate::error::Reject;
use crate::wire::layout::{ReportHeader, ReportPoint};

/// Most bytes of the payload of a REPORT.
pub const MAX_REPORT: usize = 4096;

/// Most points of both curves of a REPORT together.
pub const MAX_POINTS: usize = (MAX_REPORT - size_of::<ReportHeader>()) / size_of::<ReportPoint>();

/// The unit of [`Point::misses`]: the share of a vSSD at which everything misses.
pub const ALL_MISS: u32 = u32::MAX;

/// How often accesses miss if the driver holds so many blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// The number of blocks.
    pub blocks: u32,
    /// The share of the accesses that miss, as a fraction of [`ALL_MISS`].
    pub misses: u32,
}

/// The demand of an application since its last report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Demand {
    /// Accesses, of blocks.
    pub accesses: u64,
    /// Those that hit.
    pub hits: u64,
    /// Those that wrote.
    pub writes: u64,
    /// The miss-ratio curve of all accesses, by ascending number of blocks. Up to its first point
    /// everything misses; a point holds up to the next. Empty if it is not known.
    pub curve: Vec<Point>,
    /// The same of reads alone: a read hits only what a read or a write before it brought in, and
    /// a write never does.
    pub reads: Vec<Point>,
}

impl Demand {
    /// Writes the payload of a REPORT to `out`, which has at least [`MAX_REPORT`] bytes, and returns
    /// its length. Points beyond [`MAX_POINTS`] are left out.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let curve = &self.curve[..self.curve.len().min(MAX_POINTS)];
        let reads = &self.reads[..self.reads.len().min(MAX_POINTS - curve.len())];
        let header = ReportHeader {
            accesses: self.accesses.into(),
            hits: self.hits.into(),
            writes: self.writes.into(),
            curve: (curve.len() as u32).into(),
            reads: (reads.len() as u32).into(),
        };
        header.write_to_prefix(out).expect("room for the header");
        let mut len = size_of::<ReportHeader>();
        for point in curve.iter().chain(reads) {
            let point = ReportPoint {
                blocks: point.blocks.into(),
                misses: point.misses.into(),
            };
            point.write_to_prefix(&mut out[len..]).expect("room for it");
            len += size_of::<ReportPoint>();
        }
        len
    }

    /// The demand in a payload; none if the driver has nothing to report.
    ///
    /// # Errors
    /// [`Reject::Malformed`] when its length or its counts do not fit together, or a curve is not in
    /// ascending order of blocks or rises [DEV-17].
    pub fn decode(payload: &[u8]) -> Result<Option<Self>, Reject> {
        if payload.is_empty() {
            return Ok(None);
        }
        let (header, points) =
            ReportHeader::ref_from_prefix(payload).map_err(|_| Reject::Malformed)?;
        let points = <[ReportPoint]>::ref_from_bytes(points).map_err(|_| Reject::Malformed)?;
        let (curve, reads) = (header.curve.get() as usize, header.reads.get() as usize);
        let (accesses, hits) = (header.accesses.get(), header.hits.get());
        let writes = header.writes.get();
        let is_whole =
            payload.len() <= MAX_REPORT && curve.checked_add(reads) == Some(points.len());
        if !is_whole || hits > accesses || writes > accesses {
            return Err(Reject::Malformed);
        }
        let (curve, reads) = points.split_at(curve);
        Ok(Some(Self {
            accesses,
            hits,
            writes,
            curve: falling(curve)?,
            reads: falling(reads)?,
        }))
    }
}

/// The points of a curve that falls.
fn falling(points: &[ReportPoint]) -> Result<Vec<Point>, Reject> {
    let points: Vec<Point> = points
        .iter()
        .map(|point| Point {
            blocks: point.blocks.get(),
            misses: point.misses.get(),
        })
        .collect();
    let is_falling = points.is_sorted_by(|a, b| a.blocks < b.blocks && a.misses >= b.misses);
    is_falling.then_some(points).ok_or(Reject::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand() -> Demand {
        let points = |points: &[(u32, u32)]| {
            let point = |(blocks, misses): &(u32, u32)| Point {
                blocks: *blocks,
                misses: *misses,
            };
            points.iter().map(point).collect()
        };
        Demand {
            accesses: 100,
            hits: 60,
            writes: 100,
            curve: points(&[(1, ALL_MISS), (64, ALL_MISS / 2), (128, ALL_MISS / 2)]),
            reads: points(&[(32, 7)]),
        }
    }

    #[test]
    fn a_payload_gives_the_demand_back() {
        let mut out = [0xaa; MAX_REPORT];
        let len = demand().encode(&mut out);
        assert_eq!(len, 32 + 4 * 8);
        assert_eq!(Demand::decode(&out[..len]), Ok(Some(demand())));
        assert_eq!(Demand::decode(&[]), Ok(None));
    }

    #[test]
    fn more_points_than_fit_are_left_out() {
        let many = |first: u32| {
            (0..300).map(move |i| Point {
                blocks: first + i,
                misses: 0,
            })
        };
        let whole = Demand {
            curve: many(1).collect(),
            reads: many(1000).collect(),
            ..demand()
        };
        let mut out = [0; MAX_REPORT];
        let len = whole.encode(&mut out);
        assert_eq!(len, MAX_REPORT);
        let read = Demand::decode(&out[..len]).unwrap().unwrap();
        assert_eq!(read.curve, whole.curve);
        assert_eq!(read.reads, whole.reads[..MAX_POINTS - 300]);
    }

    #[test]
    fn nonsense_is_malformed() {
        let faults: [fn(&mut Demand); 5] = [
            |of| of.hits = 101,
            |of| of.writes = 101,
            |of| of.curve[1].misses = ALL_MISS - 1,
            |of| of.curve[2].blocks = 64,
            |of| of.curve.swap(0, 1),
        ];
        for (index, fault) in faults.into_iter().enumerate() {
            let mut demand = demand();
            fault(&mut demand);
            // The second is still a curve that falls.
            let is_right = index == 2;
            let mut out = [0; MAX_REPORT];
            let len = demand.encode(&mut out);
            assert_eq!(
                Demand::decode(&out[..len]).is_ok(),
                is_right,
                "fault {index}"
            );
        }
        let mut out = [0; MAX_REPORT + 8];
        let len = demand().encode(&mut out);
        for cut in [1, 31, 33, len - 1, len - 8, len + 1, len + 8] {
            assert_eq!(Demand::decode(&out[..cut]), Err(Reject::Malformed), "{cut}");
        }
        out[24..32].fill(0xff);
        assert_eq!(Demand::decode(&out[..len]), Err(Reject::Malformed));
    }
}
