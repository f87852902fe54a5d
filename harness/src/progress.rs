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

    /// Counts steps of which nobody knows how many there are.
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
