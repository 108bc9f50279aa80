//! The headnode's side of the wire, as a library: find nodes, select some, send to them, collect
//! what comes back. Returns data and events, prints nothing; it does not know what a terminal is.
//!
//! The path of a run, in the order of the files: [`Client`] connects, [`discover`] asks who is
//! there, [`Selector::select`] chooses, [`run`] sends and collects into a [`Report`]. [`ping`] and
//! [`story`] are questions to single nodes.

mod client;
mod filter;
mod ledger;
mod nodes;
mod order;
mod ping;
mod report;
mod run;
mod runs;
mod story;
mod targets;

pub use client::{Client, Inbox, Letter, told};
pub use filter::{BadFilter, Filter};
pub use nodes::{AdminNic, Node, Twins, discover, twins};
pub use order::by_name;
pub use ping::{Pong, ping};
pub use report::{Event, NodeResult, Report};
pub use run::{Plan, STATUS, Verb, run};
pub use runs::{PastRun, RunFile, Runs, Start};
pub use story::{Story, story};
pub use targets::{Name, Selector, Target, Unselectable, Wanted, matching};
