pub const PER_BLOCK: usize = 336;
