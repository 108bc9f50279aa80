//! The cable between an agent and the broker: a TCP proxy that can be cut, slowed and torn.
//!
//! A cut holds back what is on its way and passes no end of connection either, as a network does
//! that drops packets: what was held flows on when the cut is healed, if both ends still care.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::SockRef;

/// How often a quiet connection looks at the weather.
const LOOK: Duration = Duration::from_millis(20);

/// To agents in place of the 30 s that they ask for themselves, so that a cut can outlast it. A dead
/// peer is noticed after two of them.
const HEARTBEAT: u32 = 5;

#[derive(Default)]
pub(crate) struct Weather {
    /// Nothing passes from agent to broker.
    pub(crate) up_is_cut: AtomicBool,
    /// Nothing passes from broker to agent.
    pub(crate) down_is_cut: AtomicBool,
    /// Each piece takes this long, in milliseconds; some take twice as long, as if lost and repeated.
    pub(crate) delay: AtomicU32,
    /// New connections are torn at once.
    pub(crate) refuses: AtomicBool,
    /// Counted up, it tears every connection.
    pub(crate) storm: AtomicU32,
    over: AtomicBool,
}

pub(crate) struct Cable {
    port: u16,
    pub(crate) weather: Arc<Weather>,
}

impl Cable {
    pub(crate) fn lay(broker: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening for the agent")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let weather = Arc::new(Weather::default());
        let seen = Arc::clone(&weather);
        thread::spawn(move || accept(&listener, broker, &seen));
        Ok(Self { port, weather })
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "amqp://guest:guest@127.0.0.1:{}?heartbeat={HEARTBEAT}",
            self.port
        )
    }

    pub(crate) fn heal(&self) {
        self.weather.up_is_cut.store(false, Ordering::Relaxed);
        self.weather.down_is_cut.store(false, Ordering::Relaxed);
        self.weather.delay.store(0, Ordering::Relaxed);
        self.weather.refuses.store(false, Ordering::Relaxed);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.weather.over.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, broker: SocketAddr, weather: &Arc<Weather>) {
    while !weather.over.load(Ordering::Relaxed) {
        let Ok((agent, _)) = listener.accept() else {
            thread::park_timeout(LOOK);
            continue;
        };
        let far = TcpStream::connect(broker);
        match far {
            Ok(far) if !weather.refuses.load(Ordering::Relaxed) => join(&agent, &far, weather),
            _ => tear(&agent),
        }
    }
}

fn join(agent: &TcpStream, broker: &TcpStream, weather: &Arc<Weather>) {
    let born = weather.storm.load(Ordering::Relaxed);
    for end in [agent, broker] {
        end.set_nonblocking(false).expect("a socket");
        end.set_nodelay(true).expect("a socket");
        end.set_read_timeout(Some(LOOK)).expect("a socket");
        end.set_write_timeout(Some(LOOK)).expect("a socket");
    }
    let ends = [(agent, broker, true), (broker, agent, false)];
    for (from, to, up) in ends {
        let mut pump = Pump {
            from: from.try_clone().expect("a descriptor"),
            to: to.try_clone().expect("a descriptor"),
            up,
            born,
            weather: Arc::clone(weather),
        };
        thread::spawn(move || pump.run());
    }
}

/// SO_LINGER 0: the other end gets a reset, not an end.
fn tear(end: &TcpStream) {
    SockRef::from(end).set_linger(Some(Duration::ZERO)).ok();
    end.shutdown(Shutdown::Both).ok();
}

/// One direction of a connection.
struct Pump {
    from: TcpStream,
    to: TcpStream,
    up: bool,
    born: u32,
    weather: Arc<Weather>,
}

impl Pump {
    fn run(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        while !self.is_torn() {
            if self.is_cut() {
                thread::park_timeout(LOOK);
                continue;
            }
            match self.from.read(&mut buffer) {
                Ok(n) => {
                    self.dawdle();
                    if n == 0 {
                        self.to.shutdown(Shutdown::Write).ok();
                        return;
                    }
                    if !self.pass(buffer.split_at(n).0) {
                        return;
                    }
                }
                Err(error) if is_quiet(&error) => {}
                Err(_) => break,
            }
        }
        tear(&self.from);
        tear(&self.to);
    }

    /// Whether the connection is still there.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.is_torn() {
                tear(&self.from);
                tear(&self.to);
                return false;
            }
            if self.is_cut() {
                thread::park_timeout(LOOK);
                continue;
            }
            match self.to.write(bytes) {
                Ok(n) => bytes = bytes.split_at(n).1,
                Err(error) if is_quiet(&error) => {}
                Err(_) => {
                    tear(&self.from);
                    return false;
                }
            }
        }
        true
    }

    fn dawdle(&self) {
        let delay = Duration::from_millis(self.weather.delay.load(Ordering::Relaxed).into());
        let times = if fastrand::u32(..10) == 0 { 2 } else { 1 };
        let until = std::time::Instant::now() + delay * times;
        while std::time::Instant::now() < until && !self.is_torn() {
            thread::park_timeout(LOOK);
        }
    }

    fn is_cut(&self) -> bool {
        let cut = if self.up {
            &self.weather.up_is_cut
        } else {
            &self.weather.down_is_cut
        };
        cut.load(Ordering::Relaxed)
    }

    fn is_torn(&self) -> bool {
        self.weather.storm.load(Ordering::Relaxed) != self.born
            || self.weather.over.load(Ordering::Relaxed)
    }
}

fn is_quiet(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
