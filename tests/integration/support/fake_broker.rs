//! A fake broker: at first its address behaves in one of the ways of not being a broker, and from
//! `let_in` on it leads to the real one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No process listens at the port.
    Refused,
    /// The kernel drops every SYN, because the queue of a listener that does not accept is full.
    Dropped,
    /// It accepts, and says nothing.
    Silent,
    /// It speaks TLS: an alert is its answer to whatever comes.
    Tls,
}

/// A fatal alert, "unexpected message", as the record of TLS 1.2 that servers send (RFC 5246, 7.2).
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];
/// How often the fake looks for a connection.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

pub(crate) struct FakeBroker {
    socket: Socket,
    fault: Fault,
    broker: SocketAddr,
    lets_in: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    /// Connections that keep the queue full.
    filling: Vec<Socket>,
}

impl FakeBroker {
    pub(crate) fn start(fault: Fault, broker: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&anywhere.into()).expect("a port");
        let mut fake = Self {
            socket,
            fault,
            broker,
            lets_in: Arc::default(),
            is_over: Arc::default(),
            filling: Vec::new(),
        };
        match fault {
            Fault::Refused => {}
            Fault::Dropped => fake.fill_queue(),
            Fault::Silent | Fault::Tls => fake.accept(),
        }
        fake
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().expect("a bound socket");
        address.as_socket().expect("an address of IP")
    }

    /// From now on a connection leads to the real broker.
    pub(crate) fn let_in(&mut self) {
        self.lets_in.store(true, Ordering::Relaxed);
        self.filling.clear();
        if let Fault::Refused | Fault::Dropped = self.fault {
            self.accept();
        }
    }

    /// Fills the queue: from then on a connection is neither made nor refused.
    fn fill_queue(&mut self) {
        self.socket.listen(0).expect("listening");
        for _ in 0..8 {
            let one = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let connected = one.connect_timeout(&self.address().into(), Duration::from_millis(100));
            self.filling.push(one);
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
        let (lets_in, is_over) = (Arc::clone(&self.lets_in), Arc::clone(&self.is_over));
        let (fault, broker) = (self.fault, self.broker);
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let Ok((agent, _)) = listener.accept() else {
                    thread::park_timeout(POLL_INTERVAL);
                    continue;
                };
                agent.set_nonblocking(false).expect("a socket");
                match lets_in.load(Ordering::Relaxed) {
                    true => join(&agent, broker),
                    false => drop(thread::spawn(move || turn_away(agent, fault))),
                }
            }
        });
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn turn_away(mut agent: TcpStream, fault: Fault) {
    let mut buffer = [0; 1024];
    // Until it gives up.
    while agent.read(&mut buffer).is_ok_and(|n| n > 0) {
        if fault == Fault::Tls {
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
