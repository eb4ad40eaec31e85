//! The server beside a run: what it counted itself, and the keys that the run made on it.
//!
//! # Invariant
//!
//! Only keys of the run are removed: those that begin with its prefix, which nobody else has.

use std::sync::Arc;
use std::time::Duration;

use leasehold::store::Store;
use leasehold_redis::{Link, LinkError, RedisStore};
use leasehold_sim::numbers::whole;
use redis::{Cmd, Value};
use tokio::time::timeout;

use crate::demo::error::DemoError;
use crate::demo::run::ServerUse;
use crate::demo::store::redis_store;

pub(crate) struct Server {
    store: RedisStore,
    prefix: String,
}

/// Counts of servers since they started.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    script_calls: u64,
    keys_written: u64,
    cpu_micros: u64,
    /// The run of each server's process.
    run_ids: Vec<String>,
}

impl Usage {
    /// The counts from here to `after`; none if a server was restarted in between.
    pub(crate) fn until(&self, after: &Self) -> Option<ServerUse> {
        if self.run_ids != after.run_ids {
            return None;
        }
        Some(ServerUse {
            script_calls: after.script_calls.checked_sub(self.script_calls)?,
            keys_written: after.keys_written.checked_sub(self.keys_written)?,
            cpu_micros: after.cpu_micros.checked_sub(self.cpu_micros)?,
        })
    }
}

impl Server {
    /// The server at `url`, where a run makes keys under `prefix`.
    pub(crate) async fn connect(url: &str, prefix: &str) -> Result<Self, DemoError> {
        Ok(Self {
            store: redis_store(url, prefix).await?,
            prefix: prefix.to_owned(),
        })
    }

    /// The prefix of the run's keys.
    pub(crate) fn stem(&self) -> String {
        format!("{{{}:", self.prefix)
    }

    /// The server's counts by now; for a cluster, the sum over all nodes.
    pub(crate) async fn usage(&self) -> Result<Usage, LinkError> {
        let mut all = read_usage("");
        all.run_ids.clear();
        for node in self.nodes() {
            let node = node_up(&node).await;
            // Not all of these sections are in one answer of old servers.
            let mut text = String::new();
            for section in ["server", "commandstats", "cpu"] {
                match node.query(redis::cmd("INFO").arg(section)).await? {
                    Value::BulkString(bytes) => text += &String::from_utf8_lossy(&bytes),
                    Value::VerbatimString { text: said, .. } => text += &said,
                    _ => {}
                }
            }
            let Usage {
                script_calls,
                keys_written,
                cpu_micros,
                run_ids,
            } = read_usage(&text);
            all.script_calls += script_calls;
            all.keys_written += keys_written;
            all.cpu_micros += cpu_micros;
            all.run_ids.extend(run_ids);
        }
        all.run_ids.sort_unstable();
        Ok(all)
    }

    /// Removes the keys that the run made.
    pub(crate) async fn remove_keys(&self) -> Result<(), LinkError> {
        for node in self.nodes() {
            let node = node_up(&node).await;
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(&cursor).arg("MATCH").arg(self.stem() + "*");
                let (next, keys) = scanned(node.query(scan.arg("COUNT").arg(1000)).await?)?;
                if !keys.is_empty() {
                    let mut removal = redis::pipe();
                    for key in keys {
                        removal.add_command(Cmd::del(key));
                    }
                    for removed in node.pipeline(&removal).await? {
                        removed?;
                    }
                }
                cursor = next;
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The connection to the server, or to each node of a cluster that has keys of ours.
    fn nodes(&self) -> Vec<Arc<Link>> {
        let mut nodes: Vec<Arc<Link>> = Vec::new();
        for partition in 0..self.store.partitions() {
            let node = self.store.link(partition);
            let is_new = |node: &Arc<Link>| nodes.iter().all(|other| !Arc::ptr_eq(other, node));
            nodes.extend(node.filter(is_new));
        }
        nodes
    }
}

/// Waits until a connection is up, and gives up if the server is away for long.
async fn node_up(node: &Arc<Link>) -> &Arc<Link> {
    let _ = timeout(RESTART_MAX, node.up()).await;
    node
}

/// The answer to SCAN: where to go on, and some keys.
fn scanned(answer: Value) -> Result<(String, Vec<Vec<u8>>), LinkError> {
    redis::from_redis_value(answer).map_err(|error| LinkError::Garbled {
        what: error.to_string(),
    })
}

/// Longer than a server takes to start, with what it has kept, and be connected to again.
const RESTART_MAX: Duration = Duration::from_secs(5);

fn read_usage(info: &str) -> Usage {
    let value = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("")
    };
    let calls = |name: &str| {
        let fields = value(name).split(',');
        let calls = fields
            .into_iter()
            .find_map(|field| field.strip_prefix("calls="));
        calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
    };
    let micros = |name: &str| {
        let seconds: f64 = value(name).trim().parse().unwrap_or(0.0);
        whole(seconds * 1e6)
    };
    let sum = |commands: &[&str]| -> u64 {
        let each = commands
            .iter()
            .map(|command| calls(&format!("cmdstat_{command}:")));
        each.sum()
    };
    Usage {
        script_calls: sum(&["evalsha", "eval", "script|load"]),
        // The script writes each key's state once, as a string or as a hash. It tries a string
        // before it looks for a hash where none was known of.
        keys_written: sum(&["set", "hset"]).saturating_sub(sum(&["hget"])),
        cpu_micros: micros("used_cpu_user:") + micros("used_cpu_sys:"),
        run_ids: vec![value("run_id:").trim().to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_what_servers_say() {
        let info = "# CPU\r\nused_cpu_sys:1.500000\r\nused_cpu_user:2.25\r\n# Commandstats\r\n\
                    cmdstat_evalsha:calls=42,usec=99,usec_per_call=2.3\r\n\
                    cmdstat_ping:calls=1,u=2\r\n\
                    cmdstat_script|load:calls=3,usec=9\r\ncmdstat_set:calls=7,usec=1\r\n\
                    cmdstat_hset:calls=2,usec=1\r\ncmdstat_hget:calls=1,usec=1\r\n";
        let usage = read_usage(info);
        assert_eq!(
            (usage.script_calls, usage.keys_written, usage.cpu_micros),
            (45, 8, 3_750_000)
        );
        assert_eq!(read_usage("").script_calls, 0);
    }

    #[test]
    fn what_a_server_counted_is_known_unless_it_was_restarted() {
        let usage = |script_calls, run_id: &str| Usage {
            script_calls,
            keys_written: 0,
            cpu_micros: 0,
            run_ids: vec![run_id.to_owned()],
        };
        let used = |before: &Usage, after: &Usage| before.until(after).map(|it| it.script_calls);
        assert_eq!(used(&usage(5, "a"), &usage(7, "a")), Some(2));
        assert_eq!(used(&usage(5, "a"), &usage(7, "b")), None);
        // A server that hides its run id, or has its counts reset.
        assert_eq!(used(&usage(5, ""), &usage(2, "")), None);
    }
}
