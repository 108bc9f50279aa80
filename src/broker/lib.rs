//! One AMQP connection as Ur uses it: connect within a time limit, with TLS or without, subscribe with a queue of our own,
//! publish with the broker's confirm. The only crate that names lapin; it knows nothing of requests and
//! jobs. No recovery inside: a connection that breaks is dropped and its user makes a new one, after
//! [`backoff`].

mod backoff;
pub mod clock;
mod connect;
mod error;
mod gate;
mod publish;
mod returns;
mod subscribe;
mod thread;
mod tls;
mod url;

pub use backoff::backoff;
pub use connect::{Broker, ConnectionEvent};
pub use error::{error_chain, is_refusal, message_limit};
pub use publish::{Publisher, Receipt, Routing};
pub use subscribe::{Acker, Delivery, Subscription};
pub use thread::on_thread;
pub use tls::TlsFiles;
pub use url::Url;
