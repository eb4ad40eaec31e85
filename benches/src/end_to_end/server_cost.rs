//! The server that is measured against, and what a cell costs it: commands, scripts, processor
//! time.
//!
//! # Invariant
//!
//! A server of our own is on loopback, is emptied between cells and killed at the end, by its
//! process id. One that was named is only read and written under prefixes of ours, never emptied.

use std::ops::Sub;

use leasehold_testbed::{LocalServer, ServerOptions};
use redis::aio::MultiplexedConnection;

use super::failure::Failure;

/// A server to measure against.
#[derive(Debug)]
pub(super) struct Host {
    url: String,
    own: Option<LocalServer>,
}

/// The server's counters since it started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Cost {
    /// Commands, those inside scripts included.
    pub(super) commands: u64,
    /// Scripts and functions.
    pub(super) scripts: u64,
    /// Bytes of commands and replies, both ways.
    pub(super) bytes: u64,
    /// Processor time of the whole server process.
    pub(super) cpu_micros: u64,
}

impl Host {
    /// Starts a server, or takes the one at `url`.
    pub(super) fn new(url: Option<&str>) -> Result<Self, Failure> {
        if let Some(url) = url {
            return Ok(Self {
                url: url.to_owned(),
                own: None,
            });
        }
        Self::start(&ServerOptions::default())
    }

    /// Starts a server.
    pub(super) fn start(options: &ServerOptions) -> Result<Self, Failure> {
        let own = LocalServer::start(options).map_err(Failure::of)?;
        Ok(Self {
            url: own.url(),
            own: Some(own),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A description of the server, for the heading.
    pub(super) fn describe(&self) -> String {
        match &self.own {
            Some(own) => format!("{}, loopback, no persistence", own.binary()),
            None => format!("the server at {}", without_password(&self.url)),
        }
    }

    /// A connection to ask by.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let client = redis::Client::open(self.url.as_str()).map_err(Failure::of)?;
        let connection = client.get_multiplexed_async_connection().await;
        connection.map_err(Failure::of)
    }

    /// Forgets what earlier cells left, if the server is ours.
    pub(super) async fn clear(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), Failure> {
        if self.own.is_none() {
            return Ok(());
        }
        let mut clear = redis::cmd("FLUSHALL");
        let cleared: redis::RedisResult<()> = clear.arg("SYNC").query_async(connection).await;
        cleared.map_err(Failure::of)
    }
}

impl Cost {
    /// The server's counters now.
    pub(super) async fn read(connection: &mut MultiplexedConnection) -> Result<Self, Failure> {
        let mut info = redis::cmd("INFO");
        info.arg("commandstats").arg("stats").arg("cpu");
        let text: redis::RedisResult<String> = info.query_async(connection).await;
        Self::parse(&text.map_err(Failure::of)?)
    }

    fn parse(info: &str) -> Result<Self, Failure> {
        let mut cost = Self::default();
        let (mut commands_seen, mut ways_seen, mut cpu_seen) = (false, 0, 0);
        for line in info.lines() {
            if let Some((command, calls)) = calls(line) {
                commands_seen = true;
                cost.commands += if command == "info" { 0 } else { calls };
                cost.scripts += if SCRIPTS.contains(&command) { calls } else { 0 };
            } else if let Some(bytes) = net_bytes(line) {
                ways_seen += 1;
                cost.bytes += bytes;
            } else if let Some(micros) = cpu_micros(line) {
                cpu_seen += 1;
                cost.cpu_micros += micros;
            }
        }
        // A server that has just started has run no command yet, not even this one.
        let is_new = info.contains("# Commandstats");
        if cpu_seen == 2 && ways_seen == 2 && (commands_seen || is_new) {
            return Ok(cost);
        }
        Err(Failure::new(
            "the server does not say what it costs: INFO commandstats, stats or cpu are missing",
        ))
    }
}

impl Sub for Cost {
    type Output = Self;

    /// The difference of two counts. A server that restarted in between has counted less: 0, then.
    fn sub(self, before: Self) -> Self {
        Self {
            commands: self.commands.saturating_sub(before.commands),
            scripts: self.scripts.saturating_sub(before.scripts),
            bytes: self.bytes.saturating_sub(before.bytes),
            cpu_micros: self.cpu_micros.saturating_sub(before.cpu_micros),
        }
    }
}

/// `cmdstat_evalsha:calls=42,usec=99,…`
fn calls(line: &str) -> Option<(&str, u64)> {
    let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    let (calls, _) = rest.split_once(',')?;
    Some((command, calls.parse().ok()?))
}

/// `total_net_input_bytes:1234` and the same of the output; what replicas are sent has lines of its
/// own.
fn net_bytes(line: &str) -> Option<u64> {
    let input = line.strip_prefix("total_net_input_bytes:");
    let bytes = input.or_else(|| line.strip_prefix("total_net_output_bytes:"))?;
    bytes.trim().parse().ok()
}

/// `used_cpu_sys:1.500000` and the same of the user; children and threads have lines of their own.
fn cpu_micros(line: &str) -> Option<u64> {
    let user = line.strip_prefix("used_cpu_user:");
    let seconds = user.or_else(|| line.strip_prefix("used_cpu_sys:"))?;
    let seconds: f64 = seconds.trim().parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "processor time"
    )]
    let micros = (seconds * 1e6).round() as u64;
    Some(micros)
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => url.to_owned(),
    }
}

const SCRIPTS: &[&str] = &[
    "evalsha",
    "eval",
    "evalsha_ro",
    "eval_ro",
    "fcall",
    "fcall_ro",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_read_from_what_servers_say() {
        let info = "# CPU\r\nused_cpu_sys:1.500000\r\nused_cpu_user:2.25\r\n\
                    used_cpu_sys_children:7.0\r\nused_cpu_user_main_thread:9.0\r\n\
                    # Commandstats\r\n\
                    cmdstat_evalsha:calls=42,usec=99,usec_per_call=2.3\r\n\
                    cmdstat_info:calls=5,usec=1\r\ncmdstat_script|load:calls=3,usec=9\r\n\
                    cmdstat_get:calls=7,usec=1\r\n# Stats\r\ntotal_net_input_bytes:1000\r\n\
                    total_net_output_bytes:234\r\ntotal_net_repl_output_bytes:9\r\n";
        let cost = Cost {
            commands: 52,
            scripts: 42,
            bytes: 1234,
            cpu_micros: 3_750_000,
        };
        assert_eq!(Cost::parse(info).expect("it says all"), cost);
    }

    #[test]
    fn a_server_that_hides_its_cost_is_no_free_server() {
        assert!(Cost::parse("").is_err());
        assert!(Cost::parse("used_cpu_sys:1.0\r\nused_cpu_user:1.0\r\n").is_err());
        let all = "cmdstat_get:calls=7,usec=1\r\nused_cpu_sys:1.0\r\nused_cpu_user:1.0\r\n\
                   total_net_input_bytes:1\r\ntotal_net_output_bytes:1\r\n";
        assert!(Cost::parse(all).is_ok());
        for line in all.lines() {
            assert!(
                Cost::parse(&all.replace(line, "")).is_err(),
                "without {line}"
            );
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = without_password("redis://:secret@127.0.0.1:6379");
        assert_eq!(shown, "redis://…@127.0.0.1:6379");
        assert_eq!(without_password("redis://localhost"), "redis://localhost");
    }
}
