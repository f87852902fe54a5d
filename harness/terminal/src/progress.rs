//! Progress of long work, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress is shown.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// False hides all bars.
    pub shown: bool,
}

impl Progress {
    /// A bar of `len` steps. Where standard error is no terminal it draws nothing.
    pub fn bar(self, name: &str, len: u64) -> ProgressBar {
        let target = match self.shown {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template(
            "{prefix:<12} [{bar:30}] {pos}/{len}  {elapsed_precise}, {eta} left",
        );
        let bar = ProgressBar::with_draw_target(Some(len), target);
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name.to_owned());
        bar
    }

    /// A bar of the bytes of a file of `len`.
    pub fn bytes(self, name: &str, len: u64) -> ProgressBar {
        let bar = self.bar(name, len);
        let style = ProgressStyle::with_template(
            "{prefix:<12} [{bar:30}] {bytes}/{total_bytes}  {elapsed_precise}, {eta} left",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }

    /// Counts steps whose number is not known.
    pub fn spinner(self, name: &str) -> ProgressBar {
        let bar = self.bar(name, 0);
        bar.unset_length();
        let style =
            ProgressStyle::with_template("{prefix:<12} {spinner} {human_pos}  {elapsed_precise}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that was hung up: it counts what it was asked, and takes nothing.
    #[derive(Clone, Debug, Default)]
    struct Gone(Arc<AtomicUsize>);

    impl Gone {
        fn fails(&self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    impl TermLike for Gone {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            self.fails()
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            self.fails()
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            self.fails()
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            self.fails()
        }

        fn write_line(&self, _: &str) -> io::Result<()> {
            self.fails()
        }

        fn write_str(&self, _: &str) -> io::Result<()> {
            self.fails()
        }

        fn clear_line(&self) -> io::Result<()> {
            self.fails()
        }

        fn flush(&self) -> io::Result<()> {
            self.fails()
        }
    }

    #[test]
    fn a_terminal_that_is_gone_stops_no_bar() {
        let shown = Progress { shown: true };
        for bar in [
            shown.bar("bar", 9),
            shown.bytes("bytes", 9),
            shown.spinner("spinner"),
        ] {
            let gone = Gone::default();
            bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(gone.clone())));
            (0..9).for_each(|_| bar.inc(1));
            bar.tick();
            let mut read = Vec::new();
            io::copy(&mut bar.wrap_read(&b"content"[..]), &mut read).unwrap();
            assert_eq!(read, b"content");
            assert_eq!(bar.suspend(|| 7), 7);
            bar.finish_and_clear();
            assert!(gone.0.load(Ordering::Relaxed) > 0, "nothing was drawn");
        }
    }
}
