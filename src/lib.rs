//! Ur brings a bare machine under control: `ur-agent` on every node announces it over RabbitMQ and
//! runs the scripts it is sent; `ur` on the headnode finds nodes and sends to them.
//!
//! The path of a request:
//!
//! ```text
//! RabbitMQ ─▶ decode ─▶ admit ─▶ job directory ─▶ ack ─▶ supervisor ─▶ script
//!                │         │       (durable)                │
//!                ▼         ▼                                ▼
//!          error reply  error reply, or           outcome in the job directory
//!                       the earlier reply again             │
//! RabbitMQ ◀── publisher confirm ◀── reply ◀────────────────┘
//! ```
//!
//! Rooms, in the order of dependency; each imports only from those above it:
//! [`protocol`] what is on the wire; [`job`] a job on disk and its supervisor; [`broker`] one AMQP
//! connection as we use it; [`agent`] admit, run, reply, announce; [`task`] find, check, bundle the
//! scripts that are sent; [`headnode`] find, send, collect; [`cli`] what `ur` prints.

pub mod agent;
pub mod argv;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod headnode;
pub mod job;
pub mod protocol;
pub mod task;

/// The version of both programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
