//! Blocks to be written for a commit.
use crate::device::{BlockDevice, IoError};
/// Blocks to be written for a commit.
#[derive(Debug)]
#[must_use = "a plan has to be written and finished"]
pub struct Plan {}
impl Plan {
    /// Writes the blocks and flushes.
    ///
    /// # Errors
    /// When the device failed.
    pub async fn write(&self, _device: &impl BlockDevice) -> Result<(), IoError> {
        todo!()
    }
}
