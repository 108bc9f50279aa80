//! What an agent meets at the broker's address: at first one of the ways of not being a broker, and
//! when the door is opened, the broker.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nobody listens at the port.
    Refused,
    /// The kernel drops every SYN, because the queue of a listener that accepts nobody is full.
    Dropped,
    /// It accepts, and says nothing.
    Silent,
    /// It speaks TLS: an alert is its answer to whatever comes.
    Tls,
}

/// A fatal alert, "unexpected message", as the record of TLS 1.2 that servers send (RFC 5246, 7.2).
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];
/// How often we look for a connection.
const LOOK: Duration = Duration::from_millis(1);

pub(crate) struct Door {
    socket: Socket,
    manner: Manner,
    broker: SocketAddr,
    is_open: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    /// Connections that keep the queue full.
    crowd: Vec<Socket>,
}

impl Door {
    pub(crate) fn shut(manner: Manner, broker: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&anywhere.into()).expect("a port");
        let mut door = Self {
            socket,
            manner,
            broker,
            is_open: Arc::default(),
            is_over: Arc::default(),
            crowd: Vec::new(),
        };
        match manner {
            Manner::Refused => {}
            Manner::Dropped => door.crowd(),
            Manner::Silent | Manner::Tls => door.accept(),
        }
        door
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().expect("a bound socket");
        address.as_socket().expect("an address of IP")
    }

    /// From now on whoever comes meets the broker.
    pub(crate) fn open(&mut self) {
        self.is_open.store(true, Ordering::Relaxed);
        self.crowd.clear();
        if let Manner::Refused | Manner::Dropped = self.manner {
            self.accept();
        }
    }

    /// Fills the queue: from then on a connection is neither made nor refused.
    fn crowd(&mut self) {
        self.socket.listen(0).expect("listening");
        for _ in 0..8 {
            let one = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let connected = one.connect_timeout(&self.address().into(), Duration::from_millis(100));
            self.crowd.push(one);
            if connected.is_err() {
                return;
            }
        }
        panic!("the kernel queues more than it was asked to");
    }

    fn accept(&self) {
        self.socket.listen(128).expect("listening");
        let listener: TcpListener = self.socket.try_clone().expect("a descriptor").into();
        listener.set_nonblocking(true).expect("a listener");
        let (is_open, is_over) = (Arc::clone(&self.is_open), Arc::clone(&self.is_over));
        let (manner, broker) = (self.manner, self.broker);
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let Ok((agent, _)) = listener.accept() else {
                    thread::park_timeout(LOOK);
                    continue;
                };
                agent.set_nonblocking(false).expect("a socket");
                match is_open.load(Ordering::Relaxed) {
                    true => join(&agent, broker),
                    false => drop(thread::spawn(move || turn_away(agent, manner))),
                }
            }
        });
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn turn_away(mut agent: TcpStream, manner: Manner) {
    let mut buffer = [0; 1024];
    // Until it gives up.
    while agent.read(&mut buffer).is_ok_and(|n| n > 0) {
        if manner == Manner::Tls {
            agent.write_all(&ALERT).ok();
            return;
        }
    }
}

fn join(agent: &TcpStream, broker: SocketAddr) {
    let Ok(broker) = TcpStream::connect(broker) else {
        return;
    };
    for (from, to) in [(agent, &broker), (&broker, agent)] {
        let mut from = from.try_clone().expect("a descriptor");
        let mut to = to.try_clone().expect("a descriptor");
        to.set_nodelay(true).expect("a socket");
        thread::spawn(move || {
            std::io::copy(&mut from, &mut to).ok();
            to.shutdown(std::net::Shutdown::Both).ok();
        });
    }
}
