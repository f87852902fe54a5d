//! Addresses for PCI base address registers that firmware left empty.

/// A range of physical addresses that no RAM and no device uses, given out
/// from its start.
#[derive(Clone, Debug)]
pub struct BarWindow {
    next: u64,
    end: u64,
}

impl BarWindow {
    /// A window over `start..end`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { next: start, end }
    }

    /// An address for a register of `size` bytes, aligned to its size as PCI
    /// wants it (PCI 3.0, 6.2.5.1); `None` when the window has no room or the
    /// size is not a power of two.
    pub fn take(&mut self, size: u64) -> Option<u64> {
        if !size.is_power_of_two() {
            return None;
        }
        let address = self.next.checked_next_multiple_of(size)?;
        let next = address.checked_add(size)?;
        if next > self.end {
            return None;
        }
        self.next = next;
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::BarWindow;

    #[test]
    fn registers_are_aligned_to_their_size_and_disjoint() {
        let mut window = BarWindow::new(0xc000_0000, 0xc001_0000);
        assert_eq!(window.take(0x1000), Some(0xc000_0000));
        assert_eq!(window.take(0x4000), Some(0xc000_4000));
        assert_eq!(window.take(0x1000), Some(0xc000_8000));
        assert_eq!(window.take(0x4000), Some(0xc000_c000));
        assert_eq!(window.take(0x10), None);
    }

    #[test]
    fn a_register_too_large_changes_nothing() {
        let mut window = BarWindow::new(0x1000, 0x3000);
        assert_eq!(window.take(0x4000), None);
        assert_eq!(window.take(1 << 63), None);
        assert_eq!(window.take(0x1000), Some(0x1000));
    }

    #[test]
    fn a_size_that_is_no_power_of_two_is_refused() {
        let mut window = BarWindow::new(0, u64::MAX);
        assert_eq!(window.take(0), None);
        assert_eq!(window.take(0x3000), None);
    }
}
