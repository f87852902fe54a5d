//! The terminal of `vssdctl top`, and the threads that feed its screen.
//!
//! Three threads send events to this one, which draws: keys, readings, and signals. The terminal
//! is restored on every way out, a panic included.
//!
//! Beside [`output`](crate::output), this is the only module that writes to standard output, by
//! ratatui.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as Input, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::screen::{Next, Screen};
use super::summary::Summary;
use super::{Feed, Interval, TopOptions};

/// Events that wait to be drawn, at most; their senders wait then.
const QUEUE: usize = 16;

enum Event {
    Input(io::Result<Input>),
    Reading(Box<Result<Summary, String>>),
    Signal,
}

/// Restores the terminal.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = ratatui::try_restore();
    }
}

/// Shows readings until a key or a signal ends it.
///
/// # Errors
/// When the terminal cannot be used.
pub(super) fn run(options: &TopOptions, feed: Feed, first: Summary) -> Result<()> {
    let (sender, events) = mpsc::sync_channel(QUEUE);
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("install the signal handlers")?;
    let on_signal = sender.clone();
    thread::spawn(move || {
        for _ in signals.forever() {
            // Ignored after the end.
            let _ = on_signal.send(Event::Signal);
        }
    });
    let interval = options.interval;
    let readings = sender.clone();
    thread::spawn(move || read(feed, interval, &readings));
    let _restore = Restore;
    let terminal = ratatui::try_init().context("prepare the terminal")?;
    thread::spawn(move || listen(&sender));
    show(terminal, Screen::new(first, options.sort), &events)
}

/// Sends a reading at the end of each interval. One that was missed is not made up for.
fn read(mut feed: Feed, Interval(interval): Interval, sender: &SyncSender<Event>) {
    let mut due = Instant::now() + interval;
    loop {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = feed.next().map_err(|error| error.to_string());
        if sender.send(Event::Reading(Box::new(answer))).is_err() {
            return;
        }
        due = (due + interval).max(Instant::now());
    }
}

/// Sends what the terminal sends: keys and changes of its size.
fn listen(sender: &SyncSender<Event>) {
    loop {
        let input = event::read();
        let has_failed = input.is_err();
        if sender.send(Event::Input(input)).is_err() || has_failed {
            return;
        }
    }
}

fn show(mut terminal: DefaultTerminal, mut screen: Screen, events: &Receiver<Event>) -> Result<()> {
    loop {
        terminal
            .draw(|frame| screen.draw(frame))
            .context("draw on the terminal")?;
        match events.recv().context("no thread feeds the screen")? {
            Event::Input(input) => match input.context("read from the terminal")? {
                Input::Key(key)
                    if key.kind == KeyEventKind::Press && screen.press(key) == Next::Quit =>
                {
                    return Ok(());
                }
                // Whatever else it was, the screen is drawn again, in its new size.
                _ => {}
            },
            Event::Reading(answer) => screen.read(*answer),
            Event::Signal => return Ok(()),
        }
    }
}
