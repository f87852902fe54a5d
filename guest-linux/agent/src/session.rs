//! The channel's end, the contract's driver and a source of blocks, joined. Bytes in, bytes out:
//! the port is the caller's.
//!
//! ```text
//!        receive(bytes)                    output(), sent()
//!              │                                  ▲
//!          AgentEnd ── response, event ──▶ Driver ┤ command
//!              │ OPENED                      │ ▲  │
//!              ▼                      Choose │ │ blocks
//!           attach ─────────────────▶  Source ─┘
//! ```

use std::time::Duration;

use vssd::block_set::BlockSet;
use vssd::driver::{Driver, Fault, Notice, Step, Way, command_buffer};
use vssd::stream::{AgentEnd, Closed, Identity, Message};

use crate::error::{Error, Result};
use crate::log;
use crate::size::Bytes;
use crate::source::{Choice, Source, View};

/// How often the device may break the contract before the agent gives up [DRV-14]; counted anew
/// when the lists are equal.
const FAULTS_MAX: u32 = 8;

/// Finds the source of blocks on the vSSD with this identity.
pub type Attach = Box<dyn FnMut(&Identity) -> Result<Box<dyn Source>>>;

/// See the module.
pub struct Session {
    end: AgentEnd,
    attach: Attach,
    attached: Option<Attached>,
    command: Box<[u8]>,
    is_awaiting: bool,
    faults: u32,
}

struct Attached {
    identity: Identity,
    driver: Driver,
    source: Box<dyn Source>,
    /// A line was written about the resize that is under way.
    is_told: bool,
    /// The source knows that the device wants nothing.
    is_settled: bool,
    /// The number of blocks in the last line about that.
    told_held: Option<u32>,
}

impl Session {
    /// A session that opens the channel. `random` tells its conversations from those of every other
    /// agent [STR-5].
    pub fn new(random: u64, attach: Attach) -> Self {
        Self {
            end: AgentEnd::open(random),
            attach,
            attached: None,
            command: command_buffer(),
            is_awaiting: false,
            faults: 0,
        }
    }

    /// Opens another conversation: the port was closed and is open again, or a response is overdue.
    pub fn reopen(&mut self) {
        self.is_awaiting = false;
        self.end.reopen();
    }

    /// True while a response is to come.
    pub fn is_awaiting(&self) -> bool {
        self.is_awaiting
    }

    /// The source, once the channel was open.
    pub fn source(&self) -> Option<&dyn Source> {
        self.attached.as_ref().map(|attached| &*attached.source)
    }

    /// Bytes to write.
    pub fn output(&self) -> &[u8] {
        self.end.output()
    }

    /// The first `count` bytes of [`output`](Self::output) were written.
    pub fn sent(&mut self, count: usize) {
        self.end.sent(count);
    }

    /// Takes what was read from the port.
    ///
    /// # Errors
    /// When the agent cannot go on.
    pub fn receive(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(message) = self.end.receive(&mut bytes) {
            match (message, &mut self.attached) {
                (Message::Opened(identity), attached) => {
                    self.is_awaiting = false;
                    open(attached, identity, &mut self.attach)?;
                }
                (Message::Response(response), Some(attached)) => {
                    self.is_awaiting = false;
                    if let Err(fault) = attached.respond(response)? {
                        self.faults += 1;
                        log::warn(format_args!("{fault}; the list is read anew"));
                    }
                }
                (Message::Event(event), Some(attached)) => attached.driver.on_event(event),
                (Message::Closed(reason), _) => return Err(refused(reason)),
                // Neither comes before OPENED.
                (Message::Response(_) | Message::Event(_), None) => {}
            }
        }
        if self.faults >= FAULTS_MAX {
            let text = format!("the device broke the contract {FAULTS_MAX} times; giving up");
            return Err(Error::Failed(text));
        }
        Ok(())
    }

    /// Does what is due, up to the next command. Returns after how long to call it again when
    /// nothing comes from the port until then.
    pub fn work(&mut self) -> Option<Duration> {
        let attached = self.attached.as_mut().filter(|_| self.end.is_open())?;
        loop {
            match attached.driver.poll(&mut self.command) {
                Step::Send { len } => {
                    self.end.send(&self.command[..len]);
                    self.is_awaiting = true;
                    return None;
                }
                Step::Wait => {
                    if attached.driver.is_quiet() {
                        self.faults = 0;
                        attached.settle();
                    }
                    return None;
                }
                Step::Choose { count } => {
                    if let Some(later) = attached.choose(count) {
                        return Some(later);
                    }
                }
                Step::Report => attached.driver.report(None),
                // The source has ended I/O to what it chose.
                Step::Drain => attached.driver.drained(),
            }
        }
    }

    /// The source's [`watch`](Source::watch) is readable, or the operator asks to look again.
    pub fn woken(&mut self) {
        let Some(attached) = &mut self.attached else {
            return;
        };
        if attached.driver.is_attached() {
            let view = View {
                held: attached.driver.held(),
                leaving: attached.driver.leaving(),
            };
            report(attached.source.woken(view));
            attached.driver.reconsider();
            attached.is_settled = false;
        }
    }
}

/// The channel is open: finds the source at the first time, and starts over later on.
fn open(attached: &mut Option<Attached>, identity: Identity, attach: &mut Attach) -> Result<()> {
    match attached {
        Some(attached) if attached.identity == identity => attached.driver.restart(),
        Some(attached) => {
            let (name, was) = (&identity.name, &attached.identity.name);
            let text = format!("the channel is now that of vSSD {name}, and was that of {was}");
            return Err(Error::Failed(text));
        }
        None => {
            let source = attach(&identity)?;
            let driver = Driver::new(identity.geometry);
            log::info(format_args!(
                "vSSD {}: {} in blocks of {}",
                identity.name,
                Bytes(identity.geometry.capacity_bytes()),
                Bytes(identity.geometry.block_size().into()),
            ));
            *attached = Some(Attached {
                identity,
                driver,
                source,
                is_told: false,
                is_settled: false,
                told_held: None,
            });
        }
    }
    Ok(())
}

fn refused(reason: Closed) -> Error {
    match reason {
        Closed::Replaced | Closed::Busy => {
            Error::refused(format_args!("{reason}; run one agent for each vSSD"))
        }
        Closed::Version(_) => Error::refused(format_args!("{reason}; use those of one release")),
        Closed::Unopened => Error::Failed(reason.to_string()),
    }
}

/// What a source fails at does not end the agent: the blocks that are gone need it.
fn report(result: Result<()>) {
    if let Err(error) = result {
        log::error(error);
    }
}

impl Attached {
    /// Takes a response. A fault of the device is a value: the driver starts over.
    fn respond(&mut self, response: &[u8]) -> Result<std::result::Result<(), Fault>> {
        let notice = match self.driver.on_response(response) {
            Ok(notice) => notice,
            Err(fault) => return Ok(Err(fault)),
        };
        self.is_settled = false;
        match notice {
            Notice::None | Notice::Surrendered { .. } => {}
            Notice::Granted(_) => {
                if self.driver.wanted() != Some(Way::Shrink) {
                    report(self.source.release(self.driver.held()));
                }
            }
            Notice::Revoked(blocks) => {
                let count = blocks.len();
                if count > 0 {
                    log::error(format_args!(
                        "{count} blocks were taken by force; what was in them is lost"
                    ));
                    let view = View {
                        held: self.driver.held(),
                        leaving: self.driver.leaving(),
                    };
                    report(self.source.lost(view));
                }
            }
            Notice::Resynced { .. } => {
                let held = self.driver.held();
                log::info(format_args!(
                    "{} of {} blocks are here",
                    held.len(),
                    held.capacity()
                ));
                let view = View {
                    held,
                    leaving: None,
                };
                report(self.source.listed(view));
            }
        }
        Ok(Ok(()))
    }

    /// Asks the source for `count` blocks. Returns after how long to ask again if it has none yet.
    fn choose(&mut self, count: u32) -> Option<Duration> {
        if !std::mem::replace(&mut self.is_told, true) {
            let bytes = u64::from(count) * u64::from(self.identity.geometry.block_size());
            log::info(format_args!("shrink by {} ({count} blocks)", Bytes(bytes)));
        }
        self.is_settled = false;
        let held = self.driver.held();
        let choice = self.source.choose(held, count).unwrap_or_else(|error| {
            log::error(error);
            Choice::Last(BlockSet::empty(held.capacity()))
        });
        match choice {
            Choice::Some(blocks) => self.driver.surrender_part(blocks),
            Choice::Last(blocks) => {
                if blocks.len() < count {
                    let missing = count - blocks.len();
                    log::warn(format_args!(
                        "{missing} of the blocks that the device wants cannot be given up now"
                    ));
                }
                self.driver.surrender(blocks);
            }
            Choice::Later(time) => return Some(time),
        }
        None
    }

    /// The device wants nothing.
    fn settle(&mut self) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let held = self.driver.held();
        report(self.source.release(held));
        report(self.source.settled());
        if self.told_held.replace(held.len()) != Some(held.len()) {
            log::info(format_args!("holds {} blocks", held.len()));
        }
        self.is_told = false;
    }
}
