//! All relative links of the book and of the documents at the root lead to existing files and
//! headings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use harness::experiments::ALL;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// Markdown files under a folder of the book, without the reference runs.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        // `runs` is a link to the reference runs.
        if entry.file_type().unwrap().is_dir() {
            pages(&entry.path(), found);
        } else if entry.path().extension().is_some_and(|of| of == "md") {
            found.push(entry.path());
        }
    }
}

/// The text of a page, with includes expanded as by mdBook.
fn text(page: &Path) -> String {
    let text =
        fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let lines = text.lines().map(|line| {
        let name = line
            .strip_prefix("{{#include ")
            .and_then(|rest| rest.strip_suffix("}}"));
        match name {
            Some(name) => self::text(&page.parent().unwrap().join(name)),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchor of a heading in mdBook and on GitHub.
fn slug(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The links of a page and the anchors of its headings.
fn links_and_anchors(text: &str) -> (Vec<String>, BTreeSet<String>) {
    let mut links = Vec::new();
    let mut anchors = BTreeSet::new();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    let mut heading = None::<String>;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading {
                level:
                    HeadingLevel::H1
                    | HeadingLevel::H2
                    | HeadingLevel::H3
                    | HeadingLevel::H4
                    | HeadingLevel::H5
                    | HeadingLevel::H6,
                ..
            }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let seen = times.entry(slug.clone()).or_default();
                anchors.insert(match *seen {
                    0 => slug,
                    n => format!("{slug}-{n}"),
                });
                *seen += 1;
            }
            _ => {}
        }
    }
    (links, anchors)
}

/// The dead links in the text of `page`.
fn dead(page: &Path, text: &str) -> Vec<String> {
    let (links, own) = links_and_anchors(text);
    let mut dead = Vec::new();
    for link in links {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let target = match path {
            "" => page.to_owned(),
            path => normal(&page.parent().unwrap().join(path)),
        };
        if !target.exists() {
            dead.push(format!("{}: {link} does not exist", page.display()));
            continue;
        }
        let has_anchor = || match path {
            "" => own.contains(anchor),
            _ => links_and_anchors(&self::text(&target)).1.contains(anchor),
        };
        let is_page = target.extension().is_some_and(|of| of == "md");
        if is_page && !anchor.is_empty() && !has_anchor() {
            dead.push(format!("{}: {link} has no such heading", page.display()));
        }
    }
    dead
}

#[test]
fn no_link_is_dead() {
    let root = root();
    let mut all: Vec<_> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .map(|name| root.join(name))
        .to_vec();
    pages(&root.join("docs/src"), &mut all);
    assert!(all.len() >= 40, "{} pages", all.len());
    let dead: Vec<_> = all
        .iter()
        .flat_map(|page| dead(page, &text(page)))
        .collect();
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn every_experiment_has_a_page_that_the_summary_names() {
    let book = root().join("docs/src");
    let summary = text(&book.join("SUMMARY.md"));
    for experiment in ALL {
        let page = format!("experiments/{}.md", experiment.name());
        assert!(book.join(&page).exists(), "docs/src/{page} is missing");
        assert!(
            summary.contains(&format!("({page})")),
            "SUMMARY.md lacks {page}"
        );
    }
}

#[test]
fn dead_links_are_found() {
    let page = root().join("docs/src/concepts/pool.md");
    let text = "# A `b`: c\n\n[self](#a-b-c) [up](../limits.md) `[code](none.md)`\n\n# A\n\n# A\n\n\
                [again](#a-1) [run](../runs/eviction/report.html) [far](https://example.org/x)";
    assert_eq!(dead(&page, text), Vec::<String>::new());
    for link in [
        "none.md",
        "../limits.md#nothing",
        "#none",
        "limits.md",
        "#a-2",
    ] {
        let dead = dead(&page, &format!("{text} [dead]({link})"));
        assert_eq!(dead.len(), 1, "{link}: {dead:?}");
        assert!(dead[0].contains(link), "{dead:?}");
    }
}
