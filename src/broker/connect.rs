//! Connecting: TCP and the AMQP handshake, each within a time limit, and what happens to a connection.

use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use async_compat::CompatExt;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lapin::options::ConfirmSelectOptions;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Publisher, Subscription, Url};

/// For the TCP connection, and again for the AMQP handshake over it.
const LIMIT: Duration = Duration::from_secs(5);

/// A connection. Each subscription and each publisher has a channel of its own, because an error closes the
/// channel it is made on.
pub struct Broker {
    connection: Connection,
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
        let host = (url.0.authority.host.as_str(), url.0.authority.port);
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
        let connection = match timeout(limit, handshake).await {
            Ok(connection) => connection?,
            Err(_elapsed) => {
                abandon.shutdown(Shutdown::Both)?;
                bail!("connected, but no answer to AMQP within {limit:?}");
            }
        };
        Ok(Self {
            connection,
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
    pub async fn subscribe(&self, queue: &str, keys: &[String]) -> Result<Subscription> {
        let channel = self.connection.create_channel().await?;
        Subscription::open(channel, queue, keys).await
    }

    /// A channel on which every message is confirmed.
    pub async fn publisher(&self) -> Result<Publisher> {
        let channel = self.connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Publisher { channel })
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
