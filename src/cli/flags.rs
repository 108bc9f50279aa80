//! Flags that several commands share, and what they stand for.

pub(crate) mod broker;
pub(crate) mod conduct;
pub(crate) mod modules;
pub(crate) mod output;
pub(crate) mod past_run;
pub(crate) mod rolling;
pub(crate) mod script_input;
pub(crate) mod send;
pub(crate) mod stdin;
pub(crate) mod steering;
pub(crate) mod targets;
pub(crate) mod transfer;
pub(crate) mod values;
pub(crate) mod web;

/// The heading of the flags that all commands have, which come last.
pub(crate) const COMMON: &str = "Common";
