//! A way to a server that can be made bad: slow, silent, cut again and again, or changed.
//!
//! # Invariant
//!
//! Bytes are passed on in order, or not at all from some moment on: a connection of which bytes
//! were swallowed stays open and silent for as long as the proxy lives, as one does whose peer is
//! gone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::exchanged::{Exchanged, Words};

/// A listener before a server. Dropping it closes it and all its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    way: watch::Sender<Way>,
    listener: JoinHandle<()>,
}

/// How bytes are passed on.
#[derive(Clone, Debug)]
pub enum Way {
    /// As they come.
    Open,
    /// Answers come this much later.
    Slow(Duration),
    /// Not at all; connections are accepted, and stay.
    Silent,
    /// Connections are reset when they are this old.
    Cut(Duration),
    /// Words of requests are exchanged for others of the same length, and back in answers.
    Exchanged(Arc<[Words]>),
}

impl Proxy {
    /// Listens on a port of its own before the server at `target`.
    ///
    /// # Errors
    ///
    /// If no port can be had.
    pub async fn before(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (way, _) = watch::channel(Way::Open);
        let listener = tokio::spawn(accept(listener, target, way.clone()));
        Ok(Self {
            port,
            way,
            listener,
        })
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Changes the way of all connections, those that are open included.
    pub fn make(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn accept(listener: TcpListener, target: u16, way: watch::Sender<Way>) {
    // Connections end with the listener.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        connections.spawn(connect(near, target, way.subscribe()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(near: TcpStream, target: u16, mut way: watch::Receiver<Way>) {
    if matches!(*way.borrow_and_update(), Way::Silent) {
        return hold(near).await;
    }
    let far = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target))).await;
    // A server that is not there: whoever came is sent away.
    let Ok(far) = far else { return };
    for stream in [&near, &far] {
        // Small requests are not to wait for each other; where that cannot be had, they do.
        let _ = stream.set_nodelay(true);
    }
    // To close it by, when it is cut.
    let Ok(handle) = SockRef::from(&near).try_clone() else {
        return;
    };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let there = pump(near_read, far_write, Toward::Server, way.clone());
    let back = pump(far_read, near_write, Toward::Client, way.clone());
    let mut pumps = Box::pin(async { tokio::join!(there, back) });
    loop {
        let lives = match *way.borrow_and_update() {
            Way::Cut(after) => after,
            Way::Silent => break,
            _ => NEVER,
        };
        tokio::select! {
            _ = &mut pumps => return,
            () = sleep(lives) => {
                // Without a goodbye: the other side is told that the connection is reset.
                let _ = handle.set_linger(Some(Duration::ZERO));
                return;
            }
            changed = way.changed() => if changed.is_err() { return },
        }
    }
    // Nothing moves any more, and nothing is closed.
    std::future::pending::<()>().await;
}

/// Keeps a connection open and takes what it sends.
async fn hold(mut near: TcpStream) {
    let mut bytes = vec![0; CHUNK];
    while near.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Toward {
    Server,
    Client,
}

/// Passes bytes on until either side closes.
async fn pump(from: OwnedReadHalf, to: OwnedWriteHalf, toward: Toward, way: watch::Receiver<Way>) {
    let (send, received) = mpsc::unbounded_channel();
    // Each ends with the other: the reader's end is the end of what there is to write.
    tokio::select! {
        () = read(from, send, toward, way) => {}
        () = write(to, received) => {}
    }
}

/// A piece of what is passed on, and when.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
}

async fn read(
    mut from: OwnedReadHalf,
    send: mpsc::UnboundedSender<Piece>,
    toward: Toward,
    way: watch::Receiver<Way>,
) {
    let mut bytes = vec![0; CHUNK];
    let mut exchanged = Exchanged::default();
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let way = way.borrow().clone();
        let (late, words): (_, Arc<[Words]>) = match way {
            Way::Slow(late) if toward == Toward::Client => (late, Arc::default()),
            Way::Exchanged(words) => (Duration::ZERO, words),
            _ => (Duration::ZERO, Arc::default()),
        };
        let backwards = toward == Toward::Client;
        let piece = Piece {
            due: Instant::now() + late,
            bytes: exchanged.pass(&bytes[..read], &words, backwards),
        };
        if send.send(piece).is_err() {
            return;
        }
    }
}

async fn write(mut to: OwnedWriteHalf, mut received: mpsc::UnboundedReceiver<Piece>) {
    while let Some(Piece { due, bytes }) = received.recv().await {
        sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

const CHUNK: usize = 16 * 1024;

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(24 * 3600);
