//! Output of `ur`: tables, groups of nodes, JSON, the counter, the summary. Knows no flags.

mod counter;
mod ending;
#[cfg(test)]
pub(crate) mod fixture;
mod fold;
mod group;
mod group_key;
pub(crate) mod json;
mod last_line;
pub(crate) mod nodes;
mod progress;
mod rows;
mod screen;
pub(crate) mod status;
mod stream;
mod summary;
mod table;
mod terminal;
mod trace;

pub(crate) use fold::fold;
pub(crate) use screen::{Screen, View, Wanted};
pub(crate) use table::Table;
use terminal::Output;
pub(crate) use trace::Trace;
