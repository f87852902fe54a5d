//! Results: rows in a folder, what they show, and how that is reported.
//!
//! ```text
//!  rows ─▶ store (CSV, manifest) ─▶ rows ─▶ verdict, chart ─▶ document ─▶ report, html
//! ```
//!
//! Nothing here runs anything, and nothing knows what an experiment is about: what rows
//! there are, which claims and which figures, each experiment says itself.
//!
//! - [`row`], [`store`], [`manifest`], [`host`], [`file`](mod@file): the files of a run
//! - [`verdict`]: claims, tables, findings; [`stats`]: how sure a mean is
//! - [`chart`]: what figures share
//! - [`document`]: what a report says; [`report`] and [`html`] write it as Markdown and as
//!   a page
#![forbid(unsafe_code)]

pub mod chart;
pub mod columns;
pub mod document;
pub mod file;
pub mod host;
pub mod html;
pub mod manifest;
pub mod quantity;
pub mod report;
pub mod row;
pub mod stats;
pub mod store;
pub mod table;
pub mod verdict;
