//! A primary, its replicas and the sentinels that watch them, on loopback.
//!
//! # Invariant
//!
//! Once started, every sentinel knows every replica and every other sentinel, and every replica
//! follows the primary: a fail-over can begin at once.

use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use crate::server::{Binary, LocalServer, ServerError, ServerOptions};

/// Servers and sentinels that fail over. Dropping it kills them all.
#[derive(Debug)]
pub struct ReplicaSet {
    /// The servers. The first begins as the primary.
    pub servers: Vec<LocalServer>,
    /// The sentinels.
    pub sentinels: Vec<LocalServer>,
}

impl ReplicaSet {
    /// The name of the primary among the sentinels.
    pub const NAME: &str = "main";

    /// Starts a primary with `replicas` and as many `sentinels`, most of which must agree. They
    /// take half a second to notice that the primary is gone.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if one of them does not start, or they do not find each other.
    pub fn start(binary: &Binary, replicas: usize, sentinels: usize) -> Result<Self, ServerError> {
        let mut set = Self {
            servers: Vec::new(),
            sentinels: Vec::new(),
        };
        let options = |arguments: &[String]| ServerOptions {
            binary: Some(binary.clone()),
            arguments: arguments.to_vec(),
            ..ServerOptions::default()
        };
        // A replica that is new waits 5 s for company before it is sent the data otherwise.
        let diskless = ["--repl-diskless-sync-delay", "0"].map(str::to_owned);
        set.servers.push(LocalServer::start(&options(&diskless))?);
        let primary = set.servers[0].port().expect("no socket was asked for");
        for _ in 0..replicas {
            let mut arguments = diskless.to_vec();
            arguments.extend(["--replicaof".to_owned(), format!("127.0.0.1 {primary}")]);
            set.servers.push(LocalServer::start(&options(&arguments))?);
        }
        // Replicas are ready for a promotion before anybody watches.
        set.wait(|set| {
            let linked = set.servers[1..].iter().filter(|server| {
                let info = info(server, "replication");
                info.is_some_and(|info| info.contains("master_link_status:up"))
            });
            linked.count() == replicas
        })?;
        let majority = sentinels / 2 + 1;
        let name = Self::NAME;
        for _ in 0..sentinels {
            let options = ServerOptions {
                sentinel: Some(vec![
                    format!("monitor {name} 127.0.0.1 {primary} {majority}"),
                    format!("down-after-milliseconds {name} 500"),
                    format!("failover-timeout {name} 2000"),
                ]),
                ..options(&[])
            };
            set.sentinels.push(LocalServer::start(&options)?);
        }
        let company = format!("slaves={replicas},sentinels={sentinels}");
        set.wait(|set| {
            let aware = set.sentinels.iter().filter(|sentinel| {
                let info = info(sentinel, "sentinel");
                info.is_some_and(|info| info.contains(&company))
            });
            aware.count() == sentinels
        })?;
        Ok(set)
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        let place = |sentinel: &LocalServer| {
            let port = sentinel.port().expect("no socket was asked for");
            format!("127.0.0.1:{port}")
        };
        let places: Vec<String> = self.sentinels.iter().map(place).collect();
        format!("redis+sentinel://{}/{}", places.join(","), Self::NAME)
    }

    /// The port of the server that the first sentinel calls the primary; none if it does not
    /// answer.
    pub fn named(&self) -> Option<u16> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(Self::NAME);
        match self.sentinels.first()?.run(&command) {
            Ok(Value::Array(place)) => match place.get(1) {
                Some(Value::BulkString(port)) => str::from_utf8(port).ok()?.parse().ok(),
                _ => None,
            },
            _ => None,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "waits for processes, which live in real time"
    )]
    fn wait(&self, goal: impl Fn(&Self) -> bool) -> Result<(), ServerError> {
        let deadline = Instant::now() + COMPANY_TIMEOUT;
        while !goal(self) {
            if Instant::now() >= deadline {
                let what = "they do not find each other".to_owned();
                return Err(ServerError::Command { what });
            }
            thread::sleep(COMPANY_POLL);
        }
        Ok(())
    }
}

/// A section of what `server` says of itself.
pub(super) fn info(server: &LocalServer, section: &str) -> Option<String> {
    match server.run(redis::cmd("INFO").arg(section)) {
        Ok(Value::BulkString(text)) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => None,
    }
}

/// Sentinels announce themselves every 2 s and look at replicas every 10 s.
const COMPANY_TIMEOUT: Duration = Duration::from_secs(30);
const COMPANY_POLL: Duration = Duration::from_millis(50);
