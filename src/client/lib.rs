//! The headnode's side of the wire, as a library: find nodes, select some, send to them, collect
//! what comes back. Returns data and events, prints nothing; it does not know what a terminal is.
//!
//! The path of a run, in the order of the files: [`Client`] connects, [`discover`] asks who is
//! there, [`Selector::select`] chooses, [`run`] sends and collects into a [`Report`]. [`ping`] and
//! [`job_status`] are questions to single nodes.

mod answer;
mod ask_each;
mod claims;
mod clock;
mod connection;
mod discovery;
mod evaluate;
mod expected_nodes;
mod facts;
mod filter;
mod groups;
mod jobs;
mod kept_replies;
mod missing_nodes;
mod name_order;
mod names;
mod node;
mod node_run;
mod node_set;
mod past_run;
mod pattern;
mod ping;
mod plan;
mod printable;
mod remembered_file;
mod remembered_nodes;
mod report;
mod rolling;
mod run;
mod run_files;
mod run_state;
#[cfg(test)]
mod run_steering_tests;
#[cfg(test)]
mod run_tests;
mod search_limits;
mod selector;
mod state_dir;
mod status;
mod strict_comparisons;
mod target;
mod targets;
mod unselectable;

pub use claims::{DuplicateUuid, duplicate_uuids};
pub use clock::Clock;
pub use connection::Client;
pub use discovery::{Found, Search, discover};
pub use evaluate::{Matching, Outputs, UnknownKey, matching, outputs, outputs_of};
pub use facts::of as facts;
pub use filter::{BadFilter, Filter, NoVerdict};
pub use groups::Groups;
pub use jobs::{NodeJobs, jobs};
pub use name_order::by_name;
pub use names::{NodeName, WantedNames};
pub use node::Node;
pub use node_set::{BadNodeSet, NodeSets};
pub use past_run::{PastRun, Start, Undone};
pub use pattern::Pattern;
pub use ping::{Pong, ping};
pub use plan::{Action, Plan, STATUS_REQUEST, STREAM_REQUEST};
pub use printable::{Plain, is_visible};
pub use remembered_nodes::{Remembered, RememberedNodes};
pub use report::{NodeResult, Report, RunEvent};
pub use rolling::{BatchEnd, Between, Rolling};
pub use run::{Steer, run};
pub use run_files::{RunFile, RunFiles};
pub use selector::{Operator, Selected, Selector};
pub use status::{JobStatus, job_status};
pub use target::Target;
pub use unselectable::Unselectable;
