//! Connecting: TCP and the AMQP handshake, each within a time limit, and what happens to a connection.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use async_compat::CompatExt;
use async_rs::{Runtime, Tokio};
use futures_util::StreamExt;
use futures_util::future::Either;
use futures_util::stream::BoxStream;
use lapin::options::{ConfirmSelectOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::AsyncTcpStream;
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use protocol::EXCHANGE;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gate::{Gate, GatedStream, GatedTokio};
use crate::{Publisher, Subscription, Url, on_thread};

/// For the TCP connection, and again for the AMQP handshake over it.
const LIMIT: Duration = Duration::from_secs(5);

/// A connection. Each subscription and each publisher has a channel of its own, because an error closes the
/// channel it is made on.
pub struct Broker {
    connection: Connection,
    gate: Gate,
    /// What is published goes there.
    exchange: ShortString,
    /// Ends with the connection.
    _opens_gate: JoinSet<()>,
    /// This end of the connection: it tells which of our NICs reaches the broker.
    pub local_address: IpAddr,
}

/// What happens to a connection. The end of the stream means that it is closed.
#[derive(Debug)]
pub enum ConnectionEvent {
    /// The broker is short of memory or disk: nothing is published until it says so.
    Blocked(String),
    Unblocked,
    /// An error that closed the connection or a channel.
    Failed(Error),
}

impl Broker {
    /// Connects within about ten seconds or fails. `name` is what the management page shows.
    pub async fn connect(url: &Url, name: &str) -> Result<Self> {
        Self::connect_within(url, name, LIMIT).await
    }

    /// The same with another limit, for TCP and again for the AMQP handshake.
    pub async fn connect_within(url: &Url, name: &str, limit: Duration) -> Result<Self> {
        Self::open(url, name, limit)
            .await
            .with_context(|| format!("connecting to {url}"))
    }

    async fn open(url: &Url, name: &str, limit: Duration) -> Result<Self> {
        url.check_login()?;
        let tls = match url.is_tls() {
            true => Some(url.tls.config()?),
            false => None,
        };
        let (host, port) = url.address();
        let connecting = async {
            let addresses = resolve(host.to_owned(), port).await?;
            anyhow::Ok(TcpStream::connect(addresses.as_slice()).await?)
        };
        let stream = timeout(limit, connecting)
            .await
            .map_err(|_elapsed| anyhow!("no answer to TCP within {limit:?}"))??;
        // Three small writes and delayed acknowledgements would cost 40 ms a message.
        stream.set_nodelay(true)?;
        let local_address = stream.local_addr()?.ip();

        // lapin leaves a thread and a socket behind for each handshake that is abandoned (a server
        // that accepts and stays silent): with this duplicate we can end both.
        let abandon = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        let transport = match tls {
            None => Either::Left(stream.compat()),
            Some(tls) => {
                let handshake = url.tls.handshake(tls, host, stream);
                let handshake = timeout(limit, handshake).await;
                let stream = handshake.map_err(|_elapsed| {
                    anyhow!("connected, but no answer to TLS within {limit:?}")
                })?;
                Either::Right(Box::new(stream?.compat()))
            }
        };
        let gate = Gate::default();
        let stream = GatedStream::of(transport, gate.clone());
        let connection = match timeout(limit, Self::handshake(url, stream, name)).await {
            Ok(connection) => connection?,
            Err(_elapsed) => {
                abandon.shutdown(Shutdown::Both)?;
                bail!("connected, but no answer to AMQP within {limit:?}");
            }
        };
        let mut opens_gate = JoinSet::new();
        opens_gate.spawn(gate.clone().open_in_the_end());
        Ok(Self {
            connection,
            gate,
            exchange: EXCHANGE.into(),
            _opens_gate: opens_gate,
            local_address,
        })
    }

    async fn handshake(url: &Url, stream: GatedStream, name: &str) -> Result<Connection> {
        // lapin asks for it once, as it is told of no retries.
        let stream = Mutex::new(Some(stream));
        let connect = async move |_uri, _runtime| {
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            let stream = stream.take().ok_or(io::ErrorKind::NotConnected);
            Ok(AsyncTcpStream::Plain(stream.map_err(io::Error::from)?))
        };
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = Runtime::new(GatedTokio(Tokio::current()));
        Connection::connector(url.uri.clone(), runtime, connect, properties)
            .await
            .map_err(|error| match url.is_tls() {
                true => url.tls.explain_late(error),
                false => explain_plain(error),
            })
    }

    /// With another exchange to publish to than `amq.topic`.
    pub fn publishing_to(mut self, exchange: &str) -> Self {
        self.exchange = exchange.into();
        self
    }

    /// Declares an exclusive queue that dies with this connection, binds it to `keys` and consumes
    /// from it. Returns when every binding is in force.
    pub async fn subscribe(&self, queue: &str, keys: &[String]) -> Result<Subscription> {
        let channel = self.connection.create_channel().await?;
        Subscription::open((channel, self.gate.clone()), queue, keys).await
    }

    /// Whether there is a queue of this name, of this connection or another one.
    pub async fn has_queue(&self, name: &str) -> Result<bool> {
        let channel = self.connection.create_channel().await?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(name.into(), passive, FieldTable::default());
        let Err(error) = declared.await else {
            channel.close(200, "bye".into()).await?;
            return Ok(true);
        };
        // The broker's no has closed the channel.
        match error.kind() {
            ErrorKind::ProtocolError(said) => match said.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Ok(false),
                AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) => Ok(true),
                _ => Err(error.into()),
            },
            _ => Err(error.into()),
        }
    }

    /// A channel on which every message is confirmed.
    pub async fn publisher(&self) -> Result<Publisher> {
        let channel = self.connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Publisher::on(channel, self.exchange.clone()))
    }

    pub fn events(&self) -> BoxStream<'static, ConnectionEvent> {
        let events = self.connection.events_listener();
        Box::pin(events.filter_map(async |event| match event {
            lapin::Event::ConnectionBlocked(reason) => Some(ConnectionEvent::Blocked(reason)),
            lapin::Event::ConnectionUnblocked => Some(ConnectionEvent::Unblocked),
            lapin::Event::Error(error) => Some(ConnectionEvent::Failed(error.into())),
            _ => None,
        }))
    }

    /// Says goodbye, so that the broker deletes our queue at once.
    pub async fn close(self) -> Result<()> {
        timeout(LIMIT, self.connection.close(200, "bye".into())).await??;
        Ok(())
    }
}

/// An error of the AMQP handshake without TLS. A port that wants TLS answers with an alert, or hangs up.
fn explain_plain(error: lapin::Error) -> Error {
    let is_other = match error.kind() {
        ErrorKind::ParsingError(_) => true,
        ErrorKind::IOError(cause) => matches!(
            cause.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
        ),
        _ => false,
    };
    let error = Error::from(error);
    match is_other {
        true => error.context("no answer in AMQP: if the server speaks TLS at this port, the URL begins with amqps://"),
        false => error,
    }
}

/// The addresses of a host. The resolver blocks, for as long as its servers are silent.
async fn resolve(host: String, port: u16) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = on_thread(move || (host.as_str(), port).to_socket_addrs()).await?;
    Ok(found.context("looking its address up")?.collect())
}
