//! What `vssdctl top` draws, and what its keys do. The terminal itself is in [`live`](super::live).

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize as _;
use ratatui::text::{Line, Text};

use super::summary::{Row, Summary};
use super::table::{self, Column, SortKey};

/// Lines above the table.
const HEADING: u16 = 3;

/// Rows by which a page key scrolls.
const PAGE: usize = 10;

/// Whether to go on after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Quit,
}

/// What is shown.
pub(super) struct Screen {
    summary: Summary,
    /// Why the backend did not answer last; `None` when it did.
    failure: Option<String>,
    sort: SortKey,
    /// Rows above the first that is shown.
    offset: usize,
}

impl Screen {
    pub(super) fn new(summary: Summary, sort: SortKey) -> Self {
        let mut screen = Self {
            summary,
            failure: None,
            sort,
            offset: 0,
        };
        sort.sort(&mut screen.summary);
        screen
    }

    /// Takes a reading, or why there is none.
    pub(super) fn read(&mut self, answer: Result<Summary, String>) {
        match answer {
            Ok(summary) => {
                self.failure = None;
                self.summary = summary;
                self.sort.sort(&mut self.summary);
            }
            Err(why) => self.failure = Some(why),
        }
    }

    /// Acts on a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        let up = |rows| self.offset.saturating_sub(rows);
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Next::Quit;
            }
            KeyCode::Up | KeyCode::Char('k') => self.offset = up(1),
            KeyCode::PageUp => self.offset = up(PAGE),
            KeyCode::Home => self.offset = 0,
            // The last offset depends on the height, so it is bounded when it is drawn.
            KeyCode::Down | KeyCode::Char('j') => self.offset += 1,
            KeyCode::PageDown => self.offset += PAGE,
            KeyCode::End => self.offset = usize::MAX / 2,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.sort.sort(&mut self.summary);
            }
            _ => {}
        }
        Next::GoOn
    }

    /// Draws it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let decisions: Vec<String> = table::decisions(&self.summary).collect();
        // With an arbiter, a title, and decisions on a third of the screen at most.
        let most = frame.area().height / 3;
        let shown = match self.summary.arbiter {
            Some(_) => (decisions.len() as u16 + 1).clamp(2, most.max(2)),
            None => 0,
        };
        let [heading, body, below, footer] = Layout::vertical([
            Constraint::Length(HEADING),
            Constraint::Min(2),
            Constraint::Length(shown),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_heading(frame, heading);
        let rows = self.draw_rows(frame, body);
        let title = Line::from("last decisions").bold();
        let lines = match decisions.is_empty() {
            true => vec![Line::from("none so far")],
            false => decisions.into_iter().map(Line::from).collect(),
        };
        frame.render_widget(Text::from([vec![title], lines].concat()), below);
        let keys = format!(
            "q quit  s sort ({})  up/down scroll  {rows} of {}",
            self.sort.label(),
            self.summary.vssds.len()
        );
        frame.render_widget(Line::from(keys).dim(), footer);
    }

    fn draw_heading(&self, frame: &mut Frame<'_>, area: Rect) {
        let [pool, arbiter] = table::heading(&self.summary);
        let state = match (&self.failure, self.summary.restarts) {
            (Some(why), _) => Line::from(format!("no answer, trying again: {why}"))
                .red()
                .bold(),
            (None, 0) => Line::default(),
            (None, times) => Line::from(format!("restarts of the backend: {times}")).yellow(),
        };
        let lines = vec![Line::from(pool), Line::from(arbiter), state];
        frame.render_widget(Text::from(lines), area);
    }

    /// Draws the rows that fit; returns which these are.
    fn draw_rows(&mut self, frame: &mut Frame<'_>, area: Rect) -> String {
        let columns = table::fitting(area.width);
        let height = usize::from(area.height).saturating_sub(1);
        let all = self.summary.vssds.len();
        self.offset = self.offset.min(all.saturating_sub(height));
        let end = all.min(self.offset + height);
        let mut lines = vec![Line::from(table::titles(&columns)).reversed()];
        for row in &self.summary.vssds[self.offset..end] {
            let line = Line::from(line(&columns, row));
            lines.push(match (&self.failure, row.resize.is_some()) {
                (Some(_), _) => line.dim(),
                (None, true) => line.cyan(),
                (None, false) => line,
            });
        }
        frame.render_widget(Text::from(lines), area);
        match end {
            0 => "0".to_owned(),
            end => format!("{}-{end}", self.offset + 1),
        }
    }
}

/// A row whose cells are no wider than their columns.
fn line(columns: &[&Column], row: &Row) -> String {
    table::line(columns, |column| {
        let cell = (column.cell)(row);
        let width = usize::from(column.width);
        match cell.chars().count() <= width {
            true => cell,
            false => cell.chars().take(width - 1).chain(['~']).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::fixtures::{busy, sample};
    use super::*;

    /// The lines of a screen of this size.
    fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let text = terminal.backend().to_string();
        let lines = text.lines();
        lines
            .map(|line| line.trim_matches('"').trim_end().to_owned())
            .collect()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Next {
        screen.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// A screen with vSSDs `v00`, `v01` and so on.
    fn many(count: u32) -> Screen {
        let mut summary = sample();
        let names = (0..count).map(|index| busy(&format!("v{index:02}"), index));
        summary.vssds = names.collect();
        Screen::new(summary, SortKey::Name)
    }

    #[test]
    fn a_frame_is_as_designed() {
        let mut screen = Screen::new(sample(), SortKey::Name);
        assert_eq!(
            drawn(&mut screen, 110, 14),
            [
                "pool ssd.img: 1GiB of 4GiB free; vSSDs: 3, connected: 2; up 1m 5s",
                "arbiter: policy mrc, period 10s, pick guest; 6 periods so far",
                "",
                "NAME             GUEST           HELD    WANTED HITS (%)  READS/S WRITES/S P99 (us) RESIZE",
                "vm1              vssd            1GiB    1.5GiB     25.0     1000      250      401 moving to 1.5GiB",
                "vm2              plain           1GiB         -        -        0        0        - -",
                "vm3              none            1GiB         -        -        -        -        - -",
                "",
                "",
                "",
                "",
                "last decisions",
                "3s ago: vm1: 262144 -> 393216 blocks (mrc: saves 20,000 misses a period)",
                "q quit  s sort (name)  up/down scroll  1-3 of 3",
            ]
        );
    }

    #[test]
    fn a_backend_that_does_not_answer_is_shown_until_it_does() {
        let mut screen = Screen::new(sample(), SortKey::Name);
        screen.read(Err("no backend answers at ctl.sock".to_owned()));
        let lines = drawn(&mut screen, 100, 14);
        let wanted = "no answer, trying again: no backend answers at ctl.sock";
        assert_eq!(lines[2], wanted);
        assert!(lines[4].starts_with("vm1 "), "{}", lines[4]);
        let again = Summary {
            restarts: 1,
            arbiter: None,
            decisions: Vec::new(),
            ..sample()
        };
        screen.read(Ok(again));
        let lines = drawn(&mut screen, 100, 14);
        assert_eq!(lines[1], "arbiter: off");
        assert_eq!(lines[2], "restarts of the backend: 1");
        assert!(
            !lines.iter().any(|line| line == "last decisions"),
            "{lines:?}"
        );
    }

    #[test]
    fn rows_scroll_within_their_bounds() {
        let mut screen = many(30);
        let mut shown = |code: Option<KeyCode>| {
            if let Some(code) = code {
                assert_eq!(press(&mut screen, code), Next::GoOn);
            }
            // 3 lines above, the titles, 2 lines of decisions, and the keys leave 10 rows.
            let lines = drawn(&mut screen, 80, 17);
            (lines[4][..3].to_owned(), lines[13][..3].to_owned())
        };
        let names = |first: &str, last: &str| (first.to_owned(), last.to_owned());
        assert_eq!(shown(None), names("v00", "v09"));
        assert_eq!(shown(Some(KeyCode::Up)), names("v00", "v09"));
        assert_eq!(shown(Some(KeyCode::Char('j'))), names("v01", "v10"));
        assert_eq!(shown(Some(KeyCode::PageDown)), names("v11", "v20"));
        assert_eq!(shown(Some(KeyCode::End)), names("v20", "v29"));
        assert_eq!(shown(Some(KeyCode::Down)), names("v20", "v29"));
        assert_eq!(shown(Some(KeyCode::Char('k'))), names("v19", "v28"));
        assert_eq!(shown(Some(KeyCode::Home)), names("v00", "v09"));
    }

    #[test]
    fn keys_sort_and_quit() {
        let mut screen = many(3);
        assert_eq!(press(&mut screen, KeyCode::Char('c')), Next::GoOn);
        for key in ["held", "wanted", "hits", "reads"] {
            press(&mut screen, KeyCode::Char('s'));
            let lines = drawn(&mut screen, 80, 20);
            assert!(
                lines[19].contains(&format!("sort ({key})")),
                "{}",
                lines[19]
            );
        }
        assert!(drawn(&mut screen, 80, 20)[4].starts_with("v02"));
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Next::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.press(interrupt), Next::Quit);
    }

    #[test]
    fn any_size_of_screen_is_drawn() {
        let mut screen = many(30);
        screen.summary.vssds[0].name = "a-name-that-is-longer-than-its-column".to_owned();
        for (width, height) in [(1, 1), (5, 3), (20, 4), (300, 2), (40, 100)] {
            drawn(&mut screen, width, height);
        }
        let lines = drawn(&mut screen, 80, 20);
        assert!(lines[4].starts_with("a-name-that-is-~ "), "{}", lines[4]);
    }
}
