//! Output of `ur`: tables, groups of nodes, JSON, the counter, the summary. Knows no flags.

mod colour;
pub(crate) mod columns;
mod counter;
mod diff;
mod ending;
#[cfg(test)]
pub(crate) mod fixture;
mod fold;
mod group;
mod group_key;
pub(crate) mod jobs;
pub(crate) mod json;
mod last_line;
pub(crate) mod node_page;
pub(crate) mod nodes;
mod out;
mod page;
mod progress;
mod rows;
pub(crate) mod runs;
mod screen;
mod script_path;
pub(crate) mod status;
mod stream;
mod style;
mod summary;
mod table;
mod tally;
mod terminal;
mod trace;
mod width;

pub(crate) use colour::When;
pub(crate) use fold::{fold, fold_targets};
pub(crate) use group::Folding;
pub(crate) use out::{OutDir, file_name};
pub(crate) use page::Pages;
pub(crate) use screen::{Screen, View, ViewSettings};
pub(crate) use style::ScriptLabel;
use style::Style;
pub(crate) use table::Table;
pub(crate) use tally::tally;
use terminal::OutputForm;
pub(crate) use trace::Trace;
pub(crate) use width::terminal_width;
