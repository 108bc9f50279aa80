//! The headnode's side of the wire, as a library: find nodes, select some, send to them, collect
//! what comes back. Returns data and events, prints nothing; it does not know what a terminal is.
//!
//! The path of a run, in the order of the files: [`Client`] connects, [`discover`] asks who is
//! there, [`Selector::select`] chooses, [`run`] sends and collects into a [`Report`]. [`ping`] and
//! [`job_status`] are questions to single nodes.

mod client;
mod filter;
mod nodes;
mod order;
mod ping;
mod report;
mod run;
mod run_state;
#[cfg(test)]
mod run_tests;
mod runs;
mod status;
mod targets;

pub use client::Client;
pub use filter::{BadFilter, Filter};
pub use nodes::{AdminNic, DuplicateUuid, Node, discover, duplicate_uuids};
pub use order::by_name;
pub use ping::{Pong, ping};
pub use report::{NodeResult, Report, RunEvent};
pub use run::{Action, Plan, STATUS_REQUEST, run};
pub use runs::{PastRun, RunFile, Runs, Start};
pub use status::{JobStatus, job_status};
pub use targets::{NodeName, Selector, Target, Unselectable, Wanted, matching};
