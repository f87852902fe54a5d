//! Changes of ownership that the device of a vSSD decides, recorded in the pool.

use std::sync::Arc;

use vssd::device::Ownership;
use vssd::encoding::SetView;

use super::volume::Volume;
use super::{Pool, PoolError};
use crate::causes::Causes;

/// What changes of ownership do to a volume of a pool.
pub struct Store {
    /// The pool.
    pub pool: Arc<Pool>,
    /// The volume.
    pub volume: Arc<Volume>,
}

impl Ownership for Store {
    type Error = PoolError;

    fn release(&mut self, blocks: &SetView<'_>) -> Result<(), PoolError> {
        logged(self.pool.release(&self.volume, blocks))
    }

    fn grant(&mut self, blocks: &SetView<'_>) -> Result<(), PoolError> {
        logged(self.pool.grant(&self.volume, blocks))
    }
}

/// Logs why ownership cannot change; the guest gets only the fact.
fn logged(result: Result<(), PoolError>) -> Result<(), PoolError> {
    if let Err(error) = &result {
        let error = Causes(error);
        tracing::error!(%error, "a change of ownership could not be recorded; the resize ends");
    }
    result
}
