//! A world for a block cache to run in: two disks, time, and an executor, all
//! driven by one seed, so that a run can be repeated.
//!
//! - [`disk`]: a disk whose requests end in any order
//! - [`crash`]: what a loss of power or the end of the guest leaves of it
//! - [`model`]: which writes a block may read as
//! - [`run`]: a cache at work in a world
#![allow(dead_code, reason = "each test uses some")]

pub mod crash;
pub mod disk;
pub mod model;
pub mod run;

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use self::disk::Disk;
use crate::common::Rng;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A task, and what it does.
type Named = (String, Task);

/// Turns without a disk request after which something should have ended.
const PATIENCE: u32 = 10_000;

/// Turns in which anything should have ended.
const ENOUGH: u32 = 200_000;

/// Tasks, disks and time.
pub struct World {
    pub rng: Rng,
    pub ssd: Disk,
    pub origin: Disk,
    now_ns: Rc<Cell<u64>>,
    tasks: Vec<Named>,
    background: Vec<Task>,
}

impl World {
    pub fn new(seed: u64, ssd: Disk, origin: Disk) -> Self {
        let mut rng = Rng::new(seed);
        // No two worlds begin at the same time.
        let began_ns = u64::from(rng.next()) << 30;
        Self {
            rng,
            ssd,
            origin,
            now_ns: Rc::new(Cell::new(began_ns)),
            tasks: Vec::new(),
            background: Vec::new(),
        }
    }

    /// The clock.
    pub fn clock(&self) -> impl Fn() -> u64 + 'static {
        let now_ns = self.now_ns.clone();
        move || now_ns.get()
    }

    pub fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    pub fn sleep(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get() + ns);
    }

    /// Starts a task and polls it once.
    pub fn spawn(&mut self, name: String, task: impl Future<Output = ()> + 'static) {
        let mut task: Task = Box::pin(task);
        if !poll(&mut task) {
            self.tasks.push((name, task));
        }
    }

    /// Starts a task that need not end.
    pub fn spawn_background(&mut self, task: impl Future<Output = ()> + 'static) {
        self.background.push(Box::pin(task));
    }

    /// Number of tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn names(&self) -> Vec<&str> {
        self.tasks.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Drops a task where it is.
    pub fn drop_one(&mut self) {
        if !self.tasks.is_empty() {
            let chosen = self.rng.below(self.tasks.len() as u32);
            drop(self.tasks.swap_remove(chosen as usize));
        }
    }

    /// Polls most tasks, in any order.
    pub fn poll(&mut self) {
        let passed = self.rng.below(100_000);
        self.sleep(1_000 + u64::from(passed));
        let mut turn = Vec::new();
        turn.append(&mut self.tasks);
        while !turn.is_empty() {
            let chosen = self.rng.below(turn.len() as u32);
            let (name, mut task) = turn.swap_remove(chosen as usize);
            if self.rng.below(4) == 0 || !poll(&mut task) {
                self.tasks.push((name, task));
            }
        }
        for task in &mut self.background {
            if self.rng.below(2) == 0 {
                assert!(!poll(task), "a background task ended");
            }
        }
    }

    /// Ends a request of a disk, if any is under way.
    pub fn complete_one(&mut self) -> bool {
        let (ssd, origin) = (self.ssd.under_way(), self.origin.under_way());
        let all = (ssd + origin) as u32;
        if all == 0 {
            return false;
        }
        let chosen = self.rng.below(all) as usize;
        if chosen < ssd {
            self.ssd.complete_one(&mut self.rng)
        } else {
            self.origin.complete_one(&mut self.rng)
        }
    }

    /// Goes on until `done`; `each` looks before every request that ends.
    ///
    /// # Panics
    /// When no request has been under way for so long that all must be waiting for each
    /// other.
    pub fn run_until(
        &mut self,
        mut done: impl FnMut(&mut Self) -> bool,
        mut each: impl FnMut(&Self),
    ) {
        let (mut idle, mut turns) = (0, 0);
        while !done(self) {
            turns += 1;
            assert!(turns < ENOUGH, "no end of {:?}", self.names());
            self.poll();
            each(self);
            idle = if self.complete_one() { 0 } else { idle + 1 };
            assert!(idle < PATIENCE, "stuck: {:?}", self.names());
        }
    }

    /// Goes on until every task has ended, those in the background apart.
    pub fn finish(&mut self) {
        self.run_until(|world| world.tasks.is_empty(), |_| ());
    }

    /// Continues for a number of turns.
    pub fn run(&mut self, turns: u32) {
        for _ in 0..turns {
            self.poll();
            self.complete_one();
        }
    }

    /// Runs one future to its end, beside the tasks.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.block_on_and(future, |_| ())
    }

    /// The same; `each` looks before every request that ends.
    pub fn block_on_and<T>(
        &mut self,
        future: impl Future<Output = T>,
        each: impl FnMut(&Self),
    ) -> T {
        let mut future = pin!(future);
        let mut value = None;
        let poll = |_: &mut Self| {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(ready) = future.as_mut().poll(&mut context) {
                value = Some(ready);
            }
            value.is_some()
        };
        self.run_until(poll, each);
        value.expect("it has ended")
    }
}

/// Whether the task has ended.
fn poll(task: &mut Task) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    task.as_mut().poll(&mut context).is_ready()
}
