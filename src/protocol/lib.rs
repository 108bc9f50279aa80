//! The messages on the wire, both directions side by side.
//!
//! Agent and `ur` use the same types, each in both directions, so a round-trip test is the
//! compatibility test. This room does no I/O and knows neither tokio nor AMQP: it turns bytes into
//! values that cannot be wrong, and back. `docs/protocol.md` is its prose.

mod event;
mod fields;
mod id;
mod job_list;
mod key;
mod names;
mod outcome;
mod reply;
mod request;
mod text;

pub use event::{Ack, Heartbeat, Output, Ping, Progress, State, Stream, SysinfoRequest};
pub use id::{NodeId, RequestId};
pub use job_list::{JOBS_REQUEST, JobList, ListedJob};
pub use key::{BadKey, RoutingKey, reply_key};
pub use names::{
    MIN_BEGINNING, beginnings, is_admin, looks_like_uuid, mac_address, said_names, uuid_names,
};
pub use outcome::{ErrorCode, Outcome, REBOOT_STATUS, Refusal};
pub use reply::{Label, Reply, Usage};
pub use request::{Message, Program, Request, content_of_bytes};
pub use text::{Text, hexadecimal, without_byte_order_mark};

/// The exchange everything travels through. RabbitMQ makes it in every virtual host, and Ur's
/// clients never declare it.
pub const EXCHANGE: &str = "amq.topic";

/// Bytes of a routing key that AMQP carries (a short string).
pub const MAX_KEY: usize = 255;

/// Ur's clients (node-amqp) hand over a raw buffer instead of an object without this.
pub const CONTENT_TYPE: &str = "application/json";

/// The version of the programs, which are released together.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
