//! Most accesses go to a window of blocks, which may wander over the device.

use core::fmt;

use rand::RngExt;

use super::Rng;

/// See [`super::Pattern::Hotspot`].
#[derive(Clone, Debug)]
pub struct Hotspot {
    capacity: u32,
    blocks: u32,
    share: f64,
    speed: f64,
    rng: Rng,
}

/// The window does not lie within the device, or a parameter is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotspotError;

impl fmt::Display for HotspotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a hotspot takes a width of 1 block up to the device's, a share of accesses of 0 to 1 \
             and a speed of 0 or more blocks an access",
        )
    }
}

impl Hotspot {
    pub(super) fn new(
        blocks: u32,
        share: f64,
        speed: f64,
        capacity: u32,
        rng: Rng,
    ) -> Result<Self, HotspotError> {
        let is_sound = (1..=capacity).contains(&blocks)
            && (0.0..=1.0).contains(&share)
            && (0.0..=f64::from(u32::MAX)).contains(&speed);
        if !is_sound {
            return Err(HotspotError);
        }
        Ok(Self {
            capacity,
            blocks,
            share,
            speed,
            rng,
        })
    }

    /// The access number `at`.
    pub(super) fn next_block(&mut self, at: u64) -> u32 {
        // Rounded down, as every machine rounds it.
        let start = (at as f64 * self.speed) as u64 % u64::from(self.capacity);
        if self.rng.random::<f64>() < self.share {
            let within = self.rng.random_range(0..self.blocks);
            ((start + u64::from(within)) % u64::from(self.capacity)) as u32
        } else {
            self.rng.random_range(0..self.capacity)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pattern;

    #[test]
    fn accesses_follow_the_window() {
        let pattern = Pattern::Hotspot {
            blocks: 10,
            share: 1.0,
            speed: 0.5,
        };
        let mut stream = pattern.stream(100, 1, 0).unwrap();
        for at in 0..1000u32 {
            let distance = (stream.next_block() + 100 - at / 2 % 100) % 100;
            assert!(distance < 10, "access {at} is {distance} from the start");
        }
        // One that starts later is where the window is by then.
        let mut late = pattern.stream(100, 1, 150).unwrap();
        assert!((75..85).contains(&late.next_block()));
    }

    #[test]
    fn the_share_is_kept() {
        let pattern = Pattern::Hotspot {
            blocks: 100,
            share: 0.9,
            speed: 0.0,
        };
        let mut stream = pattern.stream(10_000, 1, 0).unwrap();
        let hot = (0..100_000).filter(|_| stream.next_block() < 100).count();
        // 90 % and a hundredth of the rest; the deviation is about 95.
        assert!((89_500..90_700).contains(&hot), "{hot}");
    }

    #[test]
    fn hopeless_windows_are_refused() {
        for (blocks, share, speed) in [(0, 0.5, 0.0), (11, 0.5, 0.0), (5, 1.5, 0.0), (5, 0.5, -1.0)]
        {
            let pattern = Pattern::Hotspot {
                blocks,
                share,
                speed,
            };
            assert!(pattern.stream(10, 1, 0).is_err());
        }
    }
}
