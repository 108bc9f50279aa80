//! A web server for one file, for the time of a run: nodes fetch it from this machine, by a path that nobody can guess.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Bytes of a request: a line and some headers.
const MAX_REQUEST: usize = 8 * 1024;
/// Connections that neither send nor take anything for so long are closed.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a request may take until it is whole.
const PATIENCE: Duration = Duration::from_secs(10);
/// Others wait: anyone who reaches the port may connect.
const MAX_CONNECTIONS: usize = 1024;
const PIECE: u64 = 64 * 1024;

/// `--via`: how files get to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Broker,
    /// From an address of this machine, if not the one by which it reaches the broker.
    Http(Option<SocketAddr>),
}

pub(crate) fn via(text: &str) -> Result<Via, String> {
    match text.split_once('=') {
        None if text == "broker" => Ok(Via::Broker),
        None if text == "http" => Ok(Via::Http(None)),
        Some(("http", address)) => {
            let with_port = address.parse();
            let alone = |_| address.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0));
            let bad =
                |_| format!("{address} is no address: write http=192.0.2.1 or http=192.0.2.1:8080");
            with_port
                .or_else(alone)
                .map(|it| Via::Http(Some(it)))
                .map_err(bad)
        }
        _ => Err("write broker, http or http=ADDRESS:PORT".to_owned()),
    }
}

/// It serves until it is dropped.
pub(crate) struct FileServer {
    pub(crate) url: String,
    listening: JoinHandle<()>,
}

struct Served {
    file: File,
    bytes: u64,
    path: String,
}

impl FileServer {
    /// `address` is what nodes reach. Behind a translation of addresses it is none of ours: then all of ours listen.
    pub(crate) async fn start(file: File, bytes: u64, address: SocketAddr) -> Result<Self> {
        let any: IpAddr = match address.is_ipv4() {
            true => [0, 0, 0, 0].into(),
            false => [0_u16; 8].into(),
        };
        let listener = match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                TcpListener::bind((any, address.port())).await
            }
            listener => listener,
        };
        let listener = listener.with_context(|| format!("listening on {address} for nodes"))?;
        let port = listener.local_addr()?.port();
        let path = format!("/{}", uuid::Uuid::new_v4().simple());
        let url = format!("http://{}{path}", SocketAddr::new(address.ip(), port));
        let served = Arc::new(Served { file, bytes, path });
        let listening = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (has_room, some) =
                    (connections.len() < MAX_CONNECTIONS, !connections.is_empty());
                tokio::select! {
                    accepted = listener.accept(), if has_room => match accepted {
                        Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&served)))),
                        // Without a descriptor to spare, it would be tried in a loop.
                        Err(_) => sleep(Duration::from_millis(100)).await,
                    },
                    _ = connections.join_next(), if some => {}
                }
            }
        });
        Ok(Self { url, listening })
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// One request, and its answer. A client that breaks off comes again.
async fn serve(mut stream: TcpStream, served: Arc<Served>) {
    let answer = async {
        let request = timeout(PATIENCE, read_request(&mut stream)).await??;
        let (head, content) = served.answer(&String::from_utf8_lossy(&request));
        stream.write_all(head.as_bytes()).await?;
        let mut at = content;
        while at < served.bytes {
            let mut piece = vec![0; usize::try_from(PIECE.min(served.bytes - at)).unwrap_or(0)];
            served.file.read_exact_at(&mut piece, at)?;
            timeout(SILENCE, stream.write_all(&piece)).await??;
            at += piece.len() as u64;
        }
        stream.shutdown().await
    };
    let answered: io::Result<()> = answer.await;
    // The node tells what came of it.
    drop(answered);
}

async fn read_request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes).await?;
        if read == 0 || request.len() > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        request.extend_from_slice(bytes.get(..read).unwrap_or_default());
    }
    Ok(request)
}

impl Served {
    /// The head of the answer, and where the content begins.
    fn answer(&self, request: &str) -> (String, u64) {
        let mut lines = request.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, path) = (words.next(), words.next());
        let head = |status: &str, more: String| {
            format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n")
        };
        if method != Some("GET") || path != Some(self.path.as_str()) {
            return (
                head("404 Not Found", "Content-Length: 0\r\n".to_owned()),
                self.bytes,
            );
        }
        let mut ranges = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let from = value.trim().strip_prefix("bytes=")?.strip_suffix('-')?;
            name.eq_ignore_ascii_case("range")
                .then(|| from.parse().ok())?
        });
        let bytes = self.bytes;
        match ranges.next() {
            None | Some(0) => (head("200 OK", format!("Content-Length: {bytes}\r\n")), 0),
            Some(from) if from < bytes => {
                let (last, length) = (bytes - 1, bytes - from);
                let range = format!("Content-Range: bytes {from}-{last}/{bytes}\r\n");
                let more = format!("Content-Length: {length}\r\n{range}");
                (head("206 Partial Content", more), from)
            }
            Some(_) => {
                let more = format!("Content-Length: 0\r\nContent-Range: bytes */{bytes}\r\n");
                (head("416 Range Not Satisfiable", more), bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_given_by_its_path_alone_whole_or_from_where_it_was_left() {
        let served = Served {
            file: tempfile::tempfile().unwrap(),
            bytes: 10,
            path: "/secret".to_owned(),
        };
        let of = |path: &str, range: &str| {
            let (head, from) =
                served.answer(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n{range}\r\n"));
            (head.split(' ').nth(1).unwrap().to_owned(), from)
        };
        let is = |status: &str, from| (status.to_owned(), from);
        assert_eq!(of("/secret", ""), is("200", 0));
        assert_eq!(of("/secret", "range: bytes=4-\r\n"), is("206", 4));
        assert_eq!(of("/secret", "Range: bytes=10-\r\n"), is("416", 10));
        assert_eq!(of("/other", ""), is("404", 10));
        assert_eq!(served.answer("PUT /secret HTTP/1.1\r\n\r\n").1, 10);
        assert_eq!(served.answer("").1, 10);
    }

    #[test]
    fn a_way_is_the_broker_or_an_address_of_ours() {
        assert_eq!(via("broker"), Ok(Via::Broker));
        assert_eq!(via("http"), Ok(Via::Http(None)));
        let address = |text: &str| Ok(Via::Http(text.parse().ok()));
        assert_eq!(via("http=192.0.2.1:80"), address("192.0.2.1:80"));
        assert_eq!(via("http=192.0.2.1"), address("192.0.2.1:0"));
        assert_eq!(via("http=[::1]:80"), address("[::1]:80"));
        assert!(via("http=host").is_err() && via("ftp").is_err());
    }
}
