//! One AMQP connection as we use it: connect within a time limit, listen on a queue of our own,
//! publish with the broker's word for it. The only room that speaks AMQP; it knows nothing of
//! requests and jobs. No recovery inside: a connection that breaks is thrown away and its user
//! makes a new one, with [`backoff`] in between.
#![expect(clippy::disallowed_types, reason = "this is the room that speaks AMQP")]

pub mod clock;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use async_compat::CompatExt;
use futures_util::Stream;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::AMQPErrorKind;
use lapin::tcp::AsyncTcpStream;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind,
    PublisherConfirm,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use protocol::{CONTENT_TYPE, EXCHANGE, MAX_KEY};

/// For the TCP connection, and again for the AMQP handshake over it.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Divides that limit and the back-off, so that a test can put a day of attempts into a minute.
const HURRY: &str = "UR_HURRY";
/// Left to the handshake by all hurry: a broker, other than a kernel, takes its time to answer.
const HANDSHAKE_LEAST: Duration = Duration::from_millis(100);
/// Asked of the broker, in seconds; a dead peer is noticed after two of them.
const HEARTBEAT: u16 = 30;
/// Bytes a frame. lapin holds two buffers of 32 frames, whose every page is touched in time: with the
/// usual 128 KiB they come to 8 MB.
const FRAME_MAX: u32 = 8_192;
/// Deliveries on their way to us at a time. Each is acked as soon as it is safe on disk.
const PREFETCH: u16 = 256;
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// Where a broker is and how to log in. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(AMQPUri);

impl FromStr for Url {
    type Err = anyhow::Error;

    /// The error never repeats the text: it may hold a password.
    fn from_str(text: &str) -> Result<Self> {
        // Some of the parser's errors repeat it.
        let mut uri = AMQPUri::from_str(text).map_err(|_error| {
            anyhow!("not a broker URL: write amqp://user:password@host:port/vhost")
        })?;
        if uri.scheme == AMQPScheme::AMQPS {
            bail!("this version speaks no TLS: use amqp://, not amqps://");
        }
        // The parser takes an IPv6 address for no host at all, and would connect to localhost.
        if let Some(address) = bracketed(text) {
            address.clone_into(&mut uri.authority.host);
        }
        // `amqp://host/` means the virtual host "" to the letter of the URI specification, and "/"
        // to everybody who writes it.
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(Self(uri))
    }
}

impl Url {
    /// From parts that were never one text.
    pub fn of(host: &str, port: u16, user: &str, password: &str) -> Self {
        let mut url = Self::from_str("amqp://localhost").expect("a constant that parses");
        host.clone_into(&mut url.0.authority.host);
        url.0.authority.port = port;
        user.clone_into(&mut url.0.authority.userinfo.username);
        password.clone_into(&mut url.0.authority.userinfo.password);
        url
    }

    pub fn with_vhost(mut self, vhost: &str) -> Self {
        vhost.clone_into(&mut self.0.vhost);
        self
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.0.authority;
        let user = &authority.userinfo.username;
        write!(f, "amqp://{user}@{}:{}", authority.host, authority.port)?;
        match self.0.vhost.as_str() {
            "/" => Ok(()),
            vhost => write!(f, "/{vhost}"),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How long to wait before attempt `attempt` (the first retry is 1): full jitter, so that a fleet
/// whose broker comes back does not come back with it as one.
pub fn backoff(attempt: u32) -> Duration {
    let most = BACKOFF_FIRST
        .saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1).min(16)))
        .min(BACKOFF_MOST);
    hurried(most.mul_f64(fastrand::f64()))
}

fn hurried(time: Duration) -> Duration {
    let factor = std::env::var(HURRY).ok().and_then(|text| text.parse().ok());
    time / factor.unwrap_or(1).max(1)
}

/// What the broker did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// At least one queue has it.
    Taken,
    /// No queue is bound to its key: nobody will ever see it.
    Unroutable,
    /// A queue that it was routed to did not take it (it is full); others may have it.
    Rejected,
}

/// A connection with one channel for listening and, because an error closes the channel it is made
/// on, others for publishing.
pub struct Broker {
    connection: Connection,
    listening: Channel,
    /// This end of the connection: it tells which of our NICs reaches the broker.
    pub local_address: IpAddr,
}

impl Broker {
    /// Connects within about ten seconds or fails. `name` is what the management page shows.
    pub async fn connect(url: &Url, name: &str) -> Result<Self> {
        Self::open(url, name)
            .await
            .with_context(|| format!("connecting to {url}"))
    }

    async fn open(url: &Url, name: &str) -> Result<Self> {
        let host = (url.0.authority.host.as_str(), url.0.authority.port);
        let limit = hurried(CONNECT_LIMIT);
        let stream = timeout(limit, TcpStream::connect(host))
            .await
            .map_err(|_elapsed| anyhow!("no answer to TCP within {limit:?}"))??;
        // Three small writes and delayed acknowledgements would cost 40 ms a message.
        stream.set_nodelay(true)?;
        let local_address = stream.local_addr()?.ip();

        // lapin leaves a thread and a socket behind for each handshake that is abandoned (a server
        // that accepts and stays silent): with this duplicate we can end both.
        let stream = stream.into_std()?;
        let abandon = stream.try_clone()?;
        let handshake = Self::handshake(url.0.clone(), stream, name);
        let limit = limit.max(HANDSHAKE_LEAST);
        let connection = match timeout(limit, handshake).await {
            Ok(connection) => connection?,
            Err(_elapsed) => {
                abandon.shutdown(std::net::Shutdown::Both)?;
                bail!("connected, but no answer to AMQP within {limit:?}");
            }
        };
        let listening = connection.create_channel().await?;
        Ok(Self {
            connection,
            listening,
            local_address,
        })
    }

    async fn handshake(
        uri: AMQPUri,
        stream: std::net::TcpStream,
        name: &str,
    ) -> Result<Connection> {
        let stream = Arc::new(stream);
        let connect = async move |_uri, _runtime| {
            let stream = TcpStream::from_std(stream.try_clone()?)?;
            Ok(AsyncTcpStream::Plain(stream.compat()))
        };
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime()?;
        Ok(Connection::connector(uri, runtime, connect, properties).await?)
    }

    /// Declares an exclusive queue that dies with this connection, binds it to `keys` and consumes
    /// from it. Returns when every binding is in force.
    pub async fn listen(&self, queue: &str, keys: &[String]) -> Result<Consumer> {
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        self.listening
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .with_context(|| format!("declaring queue {queue}"))?;
        for key in keys {
            self.listening
                .queue_bind(
                    queue.into(),
                    EXCHANGE.into(),
                    short(key)?,
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .with_context(|| format!("binding {queue} to {key}"))?;
        }
        self.listening
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        self.listening
            .basic_consume(
                queue.into(),
                ShortString::default(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .with_context(|| format!("consuming from {queue}"))
    }

    /// A channel on which every message is confirmed.
    pub async fn publisher(&self) -> Result<Publisher> {
        let channel = self.connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Publisher { channel })
    }

    /// What befalls the connection: blocked, unblocked, broken.
    pub fn events(&self) -> impl Stream<Item = lapin::Event> + Send + Unpin + 'static {
        Box::pin(self.connection.events_listener())
    }

    /// Says goodbye, so that the broker deletes our queue at once.
    pub async fn close(self) -> Result<()> {
        timeout(CONNECT_LIMIT, self.connection.close(200, "bye".into())).await??;
        Ok(())
    }
}

/// A way to publish; clones share the channel.
#[derive(Clone)]
pub struct Publisher {
    channel: Channel,
}

impl Publisher {
    /// Hands a message to the broker, as `mandatory`. Waits while the broker blocks publishers.
    pub async fn publish(&self, key: &str, body: &[u8]) -> Result<Receipt> {
        self.publish_within(key, body, None).await
    }

    /// The same, for a message that the broker throws away if it has not handed it on by then. RabbitMQ
    /// knows no limit above 49 days.
    pub async fn publish_within(
        &self,
        key: &str,
        body: &[u8],
        limit: Option<Duration>,
    ) -> Result<Receipt> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut properties = BasicProperties::default().with_content_type(CONTENT_TYPE.into());
        if let Some(limit) = limit {
            let most = Duration::from_millis(u32::MAX.into());
            let milliseconds = limit.min(most).as_millis().to_string();
            properties = properties.with_expiration(milliseconds.into());
        }
        let confirm = self
            .channel
            .basic_publish(EXCHANGE.into(), short(key)?, options, body, properties)
            .await?;
        Ok(Receipt(confirm))
    }

    /// False once an error has closed the channel: another one has to be made.
    pub fn is_open(&self) -> bool {
        self.channel.status().connected()
    }
}

/// A message on its way.
pub struct Receipt(PublisherConfirm);

impl Receipt {
    /// Waits for the broker's confirm.
    pub async fn routing(self) -> Result<Routing> {
        match self.0.await? {
            Confirmation::Ack(None) => Ok(Routing::Taken),
            Confirmation::Ack(Some(_returned)) => Ok(Routing::Unroutable),
            Confirmation::Nack(_) => Ok(Routing::Rejected),
            Confirmation::NotRequested => unreachable!("every publisher asks for confirms"),
        }
    }
}

/// The broker's limit for a message, in bytes, if that is what `error` is about: RabbitMQ closes
/// the channel with 406 and "message size N is larger than configured max size M".
pub fn message_limit(error: &anyhow::Error) -> Option<usize> {
    let ErrorKind::ProtocolError(error) = error.downcast_ref::<lapin::Error>()?.kind() else {
        return None;
    };
    let (_, limit) = error.get_message().as_str().split_once("max size ")?;
    let digits: String = limit.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Whether `error` is the broker's no to what was published (a permission, a size): it closes the
/// channel, and a new connection would meet the same.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<lapin::Error>().map(lapin::Error::kind);
    matches!(kind, Some(ErrorKind::ProtocolError(error)) if matches!(error.kind(), AMQPErrorKind::Soft(_)))
}

/// The address in `amqp://user@[address]:port`.
fn bracketed(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    host.strip_prefix('[')?
        .split_once(']')
        .map(|(address, _)| address)
}

fn short(key: &str) -> Result<ShortString> {
    if key.len() > MAX_KEY {
        bail!(
            "the routing key has {} bytes; AMQP allows {MAX_KEY}",
            key.len()
        );
    }
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let url: Url = "amqp://ur:secret@head:5673/dc1".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://ur@head:5673/dc1");
        assert_eq!(format!("{url:?}"), url.to_string());
        let url: Url = "amqp://head/".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://guest@head:5672");
        let url: Url = "amqp://u:p@[fd00::1]:5673/v".parse().unwrap();
        assert_eq!(url.to_string(), "amqp://u@fd00::1:5673/v");
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        for text in [
            "amqps://u:secret@h",
            "http://u:secret@h",
            "secret",
            "amqp://u:secret@h:port",
            "u:secret@h:5672",
        ] {
            let error = format!("{:#}", text.parse::<Url>().unwrap_err());
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_backoff_doubles_from_a_fifth_of_a_second_to_thirty_and_uses_all_of_the_range() {
        let most = |attempt| (0..2000).map(|_| backoff(attempt)).max().unwrap();
        let least = |attempt| (0..2000).map(|_| backoff(attempt)).min().unwrap();
        assert!(most(1) <= Duration::from_millis(200) && most(1) > Duration::from_millis(180));
        assert!(most(3) <= Duration::from_millis(800) && most(3) > Duration::from_millis(700));
        assert!(most(50) <= Duration::from_secs(30) && most(50) > Duration::from_secs(27));
        assert!(least(50) < Duration::from_secs(3));
    }
}
