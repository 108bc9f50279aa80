//! The headnode's side of the wire, as a library: find nodes, select some, send to them, collect
//! what comes back. Returns data and events, prints nothing; it does not know what a terminal is.
//!
//! The path of a run, in the order of the files: [`Client`] connects, [`discover`] asks who is
//! there, [`Selector::select`] chooses, [`run`] sends and collects into a [`Report`]. [`ping`] and
//! [`job_status`] are questions to single nodes.

mod absent;
mod answer;
mod ask_each;
mod chosen;
mod claims;
mod client;
mod clock;
mod discovery;
mod facts;
mod filter;
mod fleet;
mod fleet_file;
mod groups;
mod intake;
mod jobs;
mod judge;
mod kept_replies;
mod known_nodes;
mod name_order;
mod names;
mod node;
mod node_run;
mod node_set;
mod past_run;
mod pattern;
mod ping;
mod plain;
mod plan;
mod report;
mod rolling;
mod run;
mod run_files;
mod run_state;
#[cfg(test)]
mod run_steering_tests;
#[cfg(test)]
mod run_tests;
mod selector;
mod state_dir;
mod status;
mod strict;
mod target;
mod unselectable;

pub use claims::{DuplicateUuid, duplicate_uuids};
pub use client::Client;
pub use clock::Clock;
pub use discovery::{Found, Search, discover};
pub use facts::of as facts;
pub use filter::{BadFilter, Filter, NoVerdict};
pub use fleet::{Fleet, Remembered};
pub use groups::Groups;
pub use jobs::{NodeJobs, jobs};
pub use judge::{Matching, Outputs, UnknownKey, matching, outputs, outputs_of};
pub use name_order::by_name;
pub use names::{NodeName, WantedNames};
pub use node::Node;
pub use node_set::{BadNodeSet, NodeSets};
pub use past_run::{PastRun, Start, Undone};
pub use pattern::Pattern;
pub use ping::{Pong, ping};
pub use plain::{Plain, is_visible};
pub use plan::{Action, Plan, STATUS_REQUEST, STREAM_REQUEST};
pub use report::{NodeResult, Report, RunEvent};
pub use rolling::{BatchEnd, Between, Rolling};
pub use run::{Steer, run};
pub use run_files::{RunFile, RunFiles};
pub use selector::{Operator, Selected, Selector};
pub use status::{JobStatus, job_status};
pub use target::Target;
pub use unselectable::Unselectable;
