//! The link and the store against real servers, one test for each way in which they go away, or
//! will not let us in, or should not be trusted.
//!
//! Runs on every kind of server found here; `scripts/server.sh` gets them.

mod acknowledged;
mod acl;
mod cluster;
mod connection;
mod health;
mod load;
mod poisoned;
mod sentinel;
#[cfg(feature = "tls")]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use leasehold_redis::{ConnectError, Link, LinkError, RedisStore, Settings, UrlError};
use leasehold_testbed::{LocalServer, ServerOptions};
use redis::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// Runs `test` on one server of each kind found here.
async fn on_each_server(options: ServerOptions, test: impl AsyncFn(LocalServer)) {
    for binary in LocalServer::find_or_skip() {
        println!("on {binary}");
        let options = ServerOptions {
            binary: Some(binary),
            ..options.clone()
        };
        test(LocalServer::start(&options).expect("starts")).await;
    }
}

fn settings(url: &str) -> Result<Settings, UrlError> {
    let mut settings: Settings = url.parse()?;
    settings.response_timeout = TIMEOUT;
    settings.backoff_max = Duration::from_millis(500);
    Ok(settings)
}

async fn connect(url: &str) -> Result<Link, ConnectError> {
    Link::connect(settings(url).expect("a URL"), ()).await
}

/// The connection of a store that is one server, or of a cluster's first partition.
fn link_of(store: &RedisStore) -> Arc<Link> {
    store.link(0).expect("somebody serves it")
}

async fn set(link: &Link) -> Result<Value, LinkError> {
    let mut command = redis::cmd("SET");
    within(TIMEOUT * 4, link.query(command.arg("key").arg("value"))).await
}

/// Fails without waiting for anything, however busy the machine is: at the first poll.
async fn fails_at_once(link: &Link) -> LinkError {
    let ping = redis::cmd("PING");
    let answer = timeout(Duration::ZERO, link.query(&ping)).await;
    answer.expect("at once").expect_err("there is no server")
}

/// A section of what `server` says of itself.
fn info(server: &LocalServer, section: &str) -> String {
    match server.run(redis::cmd("INFO").arg(section)) {
        Ok(Value::BulkString(text)) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{other:?}"),
    }
}

/// A replica of `server`, of the same kind. It is sent the data at once, and not after some seconds
/// in which others might want it too.
fn replica_of(server: &LocalServer) -> LocalServer {
    let at_once = ["SET", "repl-diskless-sync-delay", "0"];
    let answer = server.run(redis::cmd("CONFIG").arg(&at_once[..]));
    answer.expect("is set");
    let port = server.port().expect("a port");
    let options = ServerOptions {
        binary: Some(server.binary().clone()),
        arguments: vec!["--replicaof".to_owned(), format!("127.0.0.1 {port}")],
        ..ServerOptions::default()
    };
    LocalServer::start(&options).expect("starts")
}

/// Waits until `server` sends its one replica what it is told. The replica may think so earlier.
fn wait_for_replica(server: &LocalServer) {
    for _ in 0..RECOVERY.as_millis() / 20 {
        if info(server, "replication").contains("state=online") {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "waits for a process")]
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no replica follows");
}

async fn within<T>(bound: Duration, condition: impl Future<Output = T>) -> T {
    timeout(bound, condition).await.expect("in time")
}

/// A TCP proxy that can stop moving the bytes of its connections without closing them.
struct Proxy {
    url: String,
    /// Connections from before a change are dead.
    generation: watch::Sender<u64>,
    open: watch::Receiver<usize>,
}

impl Proxy {
    async fn before(server: &LocalServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let target = server.url().trim_start_matches("redis://").to_owned();
        let (generation, _) = watch::channel(0);
        let (count, open) = watch::channel(0);
        tokio::spawn({
            let generation = generation.clone();
            async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    let mut generation = generation.subscribe();
                    let mut far = TcpStream::connect(&target).await.expect("the server is up");
                    let count = count.clone();
                    count.send_modify(|open| *open += 1);
                    tokio::spawn(async move {
                        tokio::select! {
                            _ = copy_bidirectional(&mut near, &mut far) => {}
                            _ = generation.changed() => std::future::pending().await,
                        }
                        count.send_modify(|open| *open -= 1);
                    });
                }
            }
        });
        Self {
            url,
            generation,
            open,
        }
    }

    fn swallow(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

const TIMEOUT: Duration = Duration::from_millis(150);
const RECOVERY: Duration = Duration::from_secs(3);
