//! A cache in a device mapper that is a model: naive, and dead at any step.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

const SECTORS: u64 = 8;
const CACHE_BLOCK: u64 = 64;

#[derive(Debug)]
struct Model {
    /// Sectors of the data device, and of a table that was loaded.
    data: u64,
    data_loaded: Option<u64>,
    data_is_suspended: bool,
    policy: String,
    policy_loaded: Option<String>,
    cache_is_suspended: bool,
    /// Sectors that the cache uses.
    used: u64,
    dirty: u64,
    /// The guest writes: with its own policy, whenever the cache is suspended, a block is dirty that
    /// was not a moment before.
    has_writers: bool,
    full: Option<u64>,
    left: u32,
}

#[derive(Clone)]
struct Shared(Rc<RefCell<Model>>);

impl Shared {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(Model {
            data: 6400,
            data_loaded: None,
            data_is_suspended: false,
            policy: "smq".to_owned(),
            policy_loaded: None,
            cache_is_suspended: false,
            used: 6400,
            dirty: 3,
            has_writers: false,
            full: None,
            left: u32::MAX,
        })))
    }

    /// A step; none in an agent that has died.
    fn step(&self) -> Result<std::cell::RefMut<'_, Model>> {
        let mut model = self.0.borrow_mut();
        model.left = model.left.saturating_sub(1);
        if model.left == 0 {
            return Err(Error::Failed("the agent died".to_owned()));
        }
        // Nothing uses what the data device does not have.
        assert!(
            model.cache_is_suspended || model.used <= model.data,
            "{model:?}"
        );
        Ok(model)
    }
}

fn linear(len: u64) -> Target {
    Target {
        start: 0,
        len,
        kind: "linear".to_owned(),
        params: "254:0 0".to_owned(),
    }
}

impl CacheMapper for Shared {
    fn table(&mut self, part: Part) -> Result<Vec<Target>> {
        let model = self.step()?;
        Ok(vec![match part {
            Part::Data => linear(model.data),
            Part::Cache => Target {
                start: 0,
                len: 1 << 20,
                kind: "cache".to_owned(),
                params: format!(
                    "253:1 253:0 8:0 {CACHE_BLOCK} 1 writeback {} 0",
                    model.policy
                ),
            },
        }])
    }

    fn status(&mut self) -> Result<Vec<Target>> {
        let mut model = self.step()?;
        let params = format!("8 1/9 64 1/9 0 0 0 0 0 0 {} 0", model.dirty);
        if model.policy == CLEANER && !model.cache_is_suspended {
            model.dirty = model.dirty.saturating_sub(1);
        }
        Ok(vec![Target {
            params,
            ..linear(0)
        }])
    }

    fn is_suspended(&mut self, part: Part) -> Result<bool> {
        let model = self.step()?;
        Ok(match part {
            Part::Cache => model.cache_is_suspended,
            Part::Data => model.data_is_suspended,
        })
    }

    fn load(&mut self, part: Part, table: &[Target]) -> Result<()> {
        let mut model = self.step()?;
        match part {
            Part::Data => model.data_loaded = Some(table[0].len),
            Part::Cache => model.policy_loaded = CacheTable::parse(table).map(|t| t.policy),
        }
        Ok(())
    }

    fn clear(&mut self, part: Part) -> Result<()> {
        let mut model = self.step()?;
        assert_eq!(part, Part::Data);
        model.data_loaded = None;
        Ok(())
    }

    fn suspend(&mut self, part: Part) -> Result<()> {
        let mut model = self.step()?;
        match part {
            Part::Cache => {
                model.cache_is_suspended = true;
                if model.has_writers && model.policy != CLEANER {
                    model.dirty = 1;
                }
            }
            Part::Data => {
                assert!(model.cache_is_suspended, "the cache uses it");
                model.data_is_suspended = true;
            }
        }
        Ok(())
    }

    fn resume(&mut self, part: Part) -> Result<()> {
        let mut model = self.step()?;
        match part {
            Part::Cache => {
                if let Some(policy) = model.policy_loaded.take() {
                    model.policy = policy;
                    let data = model.data;
                    assert!(
                        data >= model.used || model.dirty == 0,
                        "dirty blocks are lost"
                    );
                    model.used = data;
                }
                model.cache_is_suspended = false;
                if model.has_writers && model.policy != CLEANER {
                    model.dirty = 0;
                }
                assert!(
                    !model.data_is_suspended && model.used <= model.data,
                    "{model:?}"
                );
            }
            Part::Data => {
                if let Some(len) = model.data_loaded.take() {
                    assert!(model.cache_is_suspended);
                    model.data = len;
                }
                model.data_is_suspended = false;
            }
        }
        Ok(())
    }

    fn full_sectors(&mut self) -> Result<Option<u64>> {
        Ok(self.step()?.full)
    }

    fn keep_full_sectors(&mut self, sectors: u64) -> Result<()> {
        self.step()?.full = Some(sectors);
        Ok(())
    }
}

/// A vSSD of 1,024 blocks; the data device has 800 of them from block 16 on.
fn disk(model: &Shared) -> CacheDisk<Shared> {
    let shape = Shape {
        geometry: Geometry::new(4096, 1024).unwrap(),
        base: 16 * 4096,
        room: 1008 * 4096,
        keep_out: vec![0..4096, 810 * 4096..812 * 4096],
    };
    CacheDisk::new(model.clone(), shape)
}

fn view(held: &BlockSet) -> View<'_> {
    View {
        held,
        leaving: None,
    }
}

/// Asks until there is an answer, and takes the blocks.
fn shrink(disk: &mut CacheDisk<Shared>, held: &mut BlockSet, count: u32) -> Result<u32> {
    let mut left = count;
    for _ in 0..100 {
        match disk.choose(held, left)? {
            Choice::Some(blocks) => {
                assert!(!blocks.is_empty() && blocks.len() <= left);
                left -= held.subtract(&blocks);
                if left == 0 {
                    break;
                }
            }
            Choice::Last(blocks) => {
                left -= held.subtract(&blocks);
                break;
            }
            Choice::Later(_) => {}
        }
    }
    Ok(count - left)
}

#[test]
fn the_tail_goes_once_nothing_is_dirty_and_comes_back() {
    let model = Shared::new();
    let mut disk = disk(&model);
    let mut held = BlockSet::full(1024);
    disk.listed(view(&held)).unwrap();
    assert_eq!(disk.choose(&held, 100).unwrap(), Choice::Later(LOOK));
    assert_eq!(model.0.borrow().policy, CLEANER);
    assert_eq!(shrink(&mut disk, &mut held, 100).unwrap(), 100);
    {
        let model = model.0.borrow();
        assert_eq!((model.policy.as_str(), model.dirty), ("smq", 0));
        // 100 blocks and two that are kept, as whole blocks of the cache.
        assert_eq!(model.data, (800 - 104) * SECTORS);
    }
    assert!(!held.contains(815) && held.contains(816) && held.contains(810));
    held = BlockSet::full(1024);
    disk.release(&held).unwrap();
    assert_eq!(model.0.borrow().used, 6400);
}

#[test]
fn a_clean_cache_keeps_its_policy() {
    let model = Shared::new();
    model.0.borrow_mut().dirty = 0;
    let mut disk = disk(&model);
    let held = BlockSet::full(1024);
    disk.listed(view(&held)).unwrap();
    let choice = disk.choose(&held, 96).unwrap();
    assert!(matches!(&choice, Choice::Some(blocks) if blocks.len() == 94));
    let model = model.0.borrow();
    assert_eq!(
        (model.policy.as_str(), model.data),
        ("smq", (800 - 96) * SECTORS)
    );
}

#[test]
fn a_cache_that_looks_clean_and_is_not_is_cleaned() {
    let model = Shared::new();
    (model.0.borrow_mut().dirty, model.0.borrow_mut().has_writers) = (0, true);
    let mut disk = disk(&model);
    let held = BlockSet::full(1024);
    disk.listed(view(&held)).unwrap();
    assert!(matches!(disk.choose(&held, 96).unwrap(), Choice::Later(_)));
    assert_eq!(model.0.borrow().policy, CLEANER);
    let mut looks = 0..10;
    let given = looks.any(|_| matches!(disk.choose(&held, 96).unwrap(), Choice::Some(_)));
    assert!(given, "{model:?}", model = model.0.borrow());
    assert_eq!(model.0.borrow().policy, "smq");
}

#[test]
fn a_cancelled_shrink_has_the_old_policy_again() {
    let model = Shared::new();
    let mut disk = disk(&model);
    let held = BlockSet::full(1024);
    disk.listed(view(&held)).unwrap();
    disk.choose(&held, 100).unwrap();
    disk.release(&held).unwrap();
    assert_eq!(
        (model.0.borrow().policy.as_str(), model.0.borrow().data),
        ("smq", 6400)
    );
}

#[test]
fn a_block_of_the_cache_stays() {
    let model = Shared::new();
    let mut disk = disk(&model);
    let mut held = BlockSet::full(1024);
    disk.listed(view(&held)).unwrap();
    let given = shrink(&mut disk, &mut held, 1024).unwrap();
    assert_eq!(given, 800 - 8 - 2);
    assert_eq!(model.0.borrow().data, CACHE_BLOCK);
}

#[test]
fn blocks_within_that_are_gone_make_it_shorter() {
    let model = Shared::new();
    model.0.borrow_mut().dirty = 0;
    let mut disk = disk(&model);
    let mut held = BlockSet::full(1024);
    held.remove_range(700, 3);
    disk.listed(view(&held)).unwrap();
    assert_eq!(
        model.0.borrow().used,
        (700 - 16) * SECTORS / CACHE_BLOCK * CACHE_BLOCK
    );
    model.0.borrow_mut().dirty = 1;
    held.remove(600);
    assert!(disk.lost(view(&held)).is_err());
    assert!(!model.0.borrow().cache_is_suspended);
}

/// At each step of a shrink and a grow the agent may die: the next one makes the cache go on.
#[test]
fn an_agent_may_die_at_any_step() {
    let mut steps = 0;
    for left in 1.. {
        let model = Shared::new();
        let mut held = BlockSet::full(1024);
        let mut first = disk(&model);
        first.listed(view(&held)).unwrap();
        model.0.borrow_mut().left = left;
        let result = shrink(&mut first, &mut held, 100).and_then(|_| {
            held = BlockSet::full(1024);
            first.release(&held)
        });
        let has_died = model.0.borrow().left == 0;
        assert_eq!(result.is_err(), has_died, "{result:?}");
        model.0.borrow_mut().left = u32::MAX;
        let mut second = disk(&model);
        second.listed(view(&held)).unwrap();
        second.release(&held).unwrap();
        {
            let model = model.0.borrow();
            assert!(!model.cache_is_suspended && !model.data_is_suspended);
            assert_eq!((model.policy.as_str(), model.used), ("smq", model.data));
            assert!(model.data_loaded.is_none());
            if held.len() == 1024 {
                assert_eq!(model.used, 6400, "after {left} steps");
            }
        }
        held = BlockSet::full(1024);
        second.release(&held).unwrap();
        assert_eq!(model.0.borrow().used, 6400);
        if !has_died {
            break;
        }
        steps = left;
    }
    assert!(steps > 30, "{steps}");
}
