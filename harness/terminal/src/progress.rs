//! Progress bars, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Creates progress bars on standard error.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// False hides all bars.
    pub shown: bool,
}

impl Progress {
    /// A bar of `len` steps.
    pub fn bar(self, name: &str, len: u64) -> ProgressBar {
        let template = "{prefix:<12} [{bar:30}] {pos}/{len}  {elapsed_precise}, {eta} left";
        self.styled(name, Some(len), template)
    }

    /// A bar of the `len` bytes of a file.
    pub fn bytes(self, name: &str, len: u64) -> ProgressBar {
        let template =
            "{prefix:<12} [{bar:30}] {bytes}/{total_bytes}  {elapsed_precise}, {eta} left";
        self.styled(name, Some(len), template)
    }

    /// A counter of steps whose total is unknown.
    pub fn spinner(self, name: &str) -> ProgressBar {
        let template = "{prefix:<12} {spinner} {human_pos}  {elapsed_precise}";
        self.styled(name, None, template)
    }

    /// A bar with an indicatif template.
    pub fn styled(self, name: &str, len: Option<u64>, template: &str) -> ProgressBar {
        let target = if self.shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(len, target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name.to_owned());
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

    /// A terminal after a hangup: counts the calls and fails them.
    #[derive(Clone, Debug, Default)]
    struct HungUp(Arc<AtomicUsize>);

    impl HungUp {
        fn fails(&self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    impl TermLike for HungUp {
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
    fn bars_survive_a_hangup() {
        let shown = Progress { shown: true };
        for bar in [
            shown.bar("bar", 9),
            shown.bytes("bytes", 9),
            shown.spinner("spinner"),
        ] {
            let terminal = HungUp::default();
            bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
            (0..9).for_each(|_| bar.inc(1));
            bar.tick();
            let mut read = Vec::new();
            io::copy(&mut bar.wrap_read(&b"content"[..]), &mut read).unwrap();
            assert_eq!(read, b"content");
            assert_eq!(bar.suspend(|| 7), 7);
            bar.finish_and_clear();
            assert!(terminal.0.load(Ordering::Relaxed) > 0, "nothing was drawn");
        }
    }
}
