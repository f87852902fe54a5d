//! `report.html`: a document as one page that needs nothing beside it. Figures
//! stand in it as SVG; there are no scripts and nothing is loaded.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::document::Document;
use crate::file::replace_file;
use crate::report::{ROWS_SHOWN, left_out};
use crate::table::Table;
use crate::verdict::Claim;

/// File name in a run's folder.
const FILE: &str = "report.html";

const STYLE: &str = include_str!("report.css");

/// Writes the page; the figures' SVG files lie in the same folder.
pub fn write(folder: &Path, document: &Document) -> Result<()> {
    let figures = document
        .figures
        .iter()
        .map(|figure| {
            let path = folder.join(format!("{}.svg", figure.stem));
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        })
        .collect::<Result<Vec<String>>>()?;
    let page = compose(document, &figures).into_string();
    replace_file(&folder.join(FILE), page.as_bytes())
}

fn compose(document: &Document, figures: &[String]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (document.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (document.title) }
                    p { (code(&document.lead)) }
                    p.result.missed[!document.holds] { (document.result) }
                    (claims(&document.claims))
                    @if !document.findings.is_empty() {
                        h2 { "Findings" }
                        ul { @for finding in &document.findings { li { (code(finding)) } } }
                    }
                    @for (figure, svg) in document.figures.iter().zip(figures) {
                        h2 { (figure.title) }
                        figure role="group" aria-label=(figure.title) {
                            (PreEscaped(inline(svg)))
                            figcaption { (code(&figure.caption)) }
                        }
                    }
                    @for table in document.tables.iter().filter(|table| !table.rows.is_empty()) {
                        h2 { (code(&table.title)) }
                        (numbers(table))
                    }
                    h2 { "Conditions" }
                    (facts(document))
                    h2 { "This very run again" }
                    pre { code { (document.reproduce) } }
                    p { (code(&document.further)) }
                }
            }
        }
    }
}

/// Text in which what stands between backticks is code.
fn code(text: &str) -> Markup {
    html! {
        @for (i, part) in text.split('`').enumerate() {
            @if i % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// An SVG document as an element of a page: without its prologue, and as wide
/// as there is room for.
fn inline(svg: &str) -> String {
    let start = svg.find("<svg").unwrap_or(0);
    svg[start..].replacen("<svg", "<svg role=\"img\" class=\"drawing\"", 1)
}

fn claims(claims: &[Claim]) -> Markup {
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        @for name in ["claimed or required", "by", "measured", "result"] {
                            th scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for claim in claims {
                        tr {
                            td { (code(&claim.text)) }
                            td { (claim.source.label()) }
                            td { (code(&claim.evidence())) }
                            td.missed[claim.is_missed()] { (claim.result()) }
                        }
                    }
                }
            }
        }
    }
}

fn numbers(table: &Table) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr { @for name in &table.head { th scope="col" { (code(name)) } } } }
                tbody {
                    @for row in table.rows.iter().take(ROWS_SHOWN) {
                        tr { @for cell in row { td { (code(cell)) } } }
                    }
                }
            }
        }
        @if let Some(note) = left_out(table) { p { (note) } }
    }
}

fn facts(document: &Document) -> Markup {
    html! {
        div.wide {
            table {
                tbody {
                    @for (name, value) in &document.conditions {
                        tr { th scope="row" { (name) } td { (value) } }
                    }
                    @for (name, value) in &document.parameters {
                        tr { th scope="row" { "parameter " code { (name) } } td { code { (value) } } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::example;
    use crate::manifest::State;
    use crate::verdict::Outcome;

    /// Elements that have no end.
    const VOID: [&str; 1] = ["meta"];

    /// Checks that every element that begins also ends, in order.
    fn assert_nested(page: &str) {
        let mut open = Vec::new();
        for part in page.split('<').skip(1) {
            let (tag, _) = part.split_once('>').expect("a tag ends");
            let name = tag.split([' ', '/']).next().unwrap_or_default();
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "at </{name}>"),
                None if tag.starts_with('!') || tag.ends_with('/') || VOID.contains(&name) => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?} do not end");
    }

    #[test]
    fn the_page_has_everything_and_loads_nothing() {
        let document = example(State::Complete, true);
        let svg = "<?xml version=\"1.0\"?>\n<svg width=\"9\"><g/></svg>".to_owned();
        let page = compose(&document, &[svg]).into_string();
        for part in [
            "<title>Correctness of resizing</title>",
            "All 2 claims and requirements hold.",
            "Errors | blocks are &lt;equal&gt;.",
            "Nothing else <code>was</code> found &amp; said.",
            "<svg role=\"img\" class=\"drawing\" width=\"9\">",
            "Dots on a line.",
            "The first 80 of 100 rows",
            "cargo run --bin harness -- run correctness --seed 1",
            "<code>size</code>",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        for part in ["<?xml", "<script", "http:", "https:", "url(", "src="] {
            assert!(!page.contains(part), "{part} is in the page");
        }
        assert_nested(&page);
    }

    #[test]
    fn what_does_not_hold_is_marked() {
        let page = compose(&example(State::Complete, false), &[String::new()]).into_string();
        assert!(page.contains("<p class=\"result missed\">1 of 2"));
        assert!(page.contains("<td class=\"missed\">does not hold</td>"));
        let why = Outcome::undecided("There is no yardstick.");
        let page = compose(&example(State::Complete, why), &[String::new()]).into_string();
        assert!(page.contains("There is no yardstick.</td>"), "{page}");
        assert!(page.contains(">cannot be judged here</td>"), "{page}");
        assert!(!page.contains("\"missed\""), "{page}");
    }
}
