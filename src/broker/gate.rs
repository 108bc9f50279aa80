//! A bound on what a connection holds of messages that have come and were not taken: beyond it the socket is left
//! unread, and the rest stays with the broker. AMQP's own bound counts messages, of which one may have 128 MiB.
//!
//! Bytes are counted from when the last message that was there had been taken. So a message may be longer than the
//! bound, and one that waits holds up what comes after it.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_compat::Compat;
use async_rs::Tokio;
use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use futures_util::future::Either;
use futures_util::task::AtomicWaker;
use futures_util::{AsyncRead, AsyncWrite, Stream};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;

/// Bytes that are read while messages wait to be taken.
const LIMIT: usize = 16 * 1024 * 1024;
/// For so long a receiver may take nothing until as many bytes again are read all the same: it may be waiting for
/// something else on the connection, such as a confirm.
const PATIENCE: Duration = Duration::from_secs(1);

/// What reader and receivers of a connection share. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Bytes that were read since the last message was taken.
    read: AtomicUsize,
    reader: AtomicWaker,
    receiver: AtomicWaker,
    closed: Notify,
}

impl Gate {
    /// A receiver has taken all that was there, and waits for more.
    pub(crate) fn drained(&self, receiver: &Waker) {
        self.0.receiver.register(receiver);
        self.open();
    }

    fn open(&self) {
        if self.0.read.swap(0, Ordering::SeqCst) >= LIMIT {
            self.0.reader.wake();
        }
    }

    fn is_closed(&self) -> bool {
        self.0.read.load(Ordering::SeqCst) >= LIMIT
    }

    /// Whether more may be read now; if not, the reader is woken when it may.
    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_closed() {
            return Poll::Ready(());
        }
        self.0.reader.register(cx.waker());
        if !self.is_closed() {
            return Poll::Ready(());
        }
        // It may have taken everything before the first byte of what is only here in part.
        self.0.receiver.wake();
        self.0.closed.notify_one();
        Poll::Pending
    }

    /// Never ends.
    pub(crate) async fn open_in_the_end(self) {
        loop {
            self.0.closed.notified().await;
            sleep(PATIENCE).await;
            self.open();
        }
    }
}

/// A TCP connection, plain or with TLS.
pub(crate) type Transport = Either<Compat<TcpStream>, Box<Compat<TlsStream<TcpStream>>>>;

/// A connection that is not read while its gate is closed.
pub(crate) struct GatedStream {
    /// Until it is dropped.
    stream: Option<Transport>,
    gate: Gate,
    runtime: Option<Handle>,
}

impl GatedStream {
    pub(crate) fn of(stream: Transport, gate: Gate) -> Self {
        Self {
            stream: Some(stream),
            gate,
            runtime: Handle::try_current().ok(),
        }
    }

    fn stream(&mut self) -> Pin<&mut Transport> {
        Pin::new(self.stream.as_mut().expect("it is not dropped"))
    }
}

impl Drop for GatedStream {
    /// lapin does it in a thread of its own. Outside of the runtime the stream would start another one, with a
    /// thread, and panic where there is none to be had.
    fn drop(&mut self) {
        let _inside = self.runtime.as_ref().map(Handle::enter);
        self.stream = None;
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gate.poll_open(cx));
        let read = std::task::ready!(self.stream().poll_read(cx, buffer))?;
        self.gate.0.read.fetch_add(read, Ordering::SeqCst);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_close(cx)
    }
}

/// lapin's runtime: tokio, with gated streams.
#[derive(Clone, Debug)]
pub(crate) struct GatedTokio(pub(crate) Tokio);

impl RuntimeKit for GatedTokio {}

impl Executor for GatedTokio {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(future)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for GatedTokio {
    type TcpStream = GatedStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move {
            let stream = connecting.await?;
            Ok(GatedStream::of(Either::Left(stream), Gate::default()))
        }
    }
}
