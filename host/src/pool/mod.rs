//! A pool: one medium shared by the vSSDs of many virtual machines.
//!
//! The medium's data area is cut into *places*, one block each. A *volume* is
//! the storage of one vSSD: it maps the device's blocks to places, each when it
//! is first written. The *ledger* says who owns which place and how many more
//! each volume may hold. Reads and writes look only at their own volume's map,
//! which is made of atomic words; whatever changes who owns what happens under
//! the ledger's lock.

pub mod ledger;
pub mod turns;
pub mod volume;

#[cfg(test)]
mod tests;
