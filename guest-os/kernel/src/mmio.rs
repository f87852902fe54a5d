//! Device registers in memory.

use core::ptr;

/// A bounded range of memory-mapped registers.
#[derive(Debug)]
pub struct Mmio {
    base: usize,
    len: usize,
}

/// Register widths: integers, for which every bit pattern is a value.
pub trait Width: Copy {}
impl Width for u8 {}
impl Width for u16 {}
impl Width for u32 {}
impl Width for u64 {}

impl Mmio {
    /// The registers at `address..address + len`.
    ///
    /// # Safety
    /// The range must be mapped one to one and consist of device registers
    /// that this value's user may read and write: none of it is memory that
    /// Rust knows.
    pub const unsafe fn new(address: u64, len: usize) -> Self {
        Self {
            base: address as usize,
            len,
        }
    }

    /// Bytes in the range.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Reads a register.
    ///
    /// # Panics
    /// When it lies outside of the range or is not aligned.
    pub fn read<T: Width>(&self, offset: usize) -> T {
        // SAFETY: `register` made sure that it is an aligned register of the
        // range, which by `new`'s contract may be read.
        unsafe { ptr::read_volatile(self.register(offset)) }
    }

    /// Writes a register.
    ///
    /// # Panics
    /// When it lies outside of the range or is not aligned.
    pub fn write<T: Width>(&self, offset: usize, value: T) {
        // SAFETY: as for `read`.
        unsafe { ptr::write_volatile(self.register(offset), value) }
    }

    fn register<T>(&self, offset: usize) -> *mut T {
        let end = offset.checked_add(size_of::<T>());
        assert!(
            end.is_some_and(|end| end <= self.len),
            "register {offset:#x} of {:#x} is outside its {} bytes",
            self.base,
            self.len,
        );
        let register = (self.base + offset) as *mut T;
        assert!(
            register.is_aligned(),
            "register {register:p} is not aligned"
        );
        register
    }
}
