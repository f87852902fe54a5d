pub mod ledger;
pub mod turns;
pub mod volume;

#[cfg(test)]
mod tests;
