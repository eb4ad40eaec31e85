//! Primaries that share the slots, and their replicas, on loopback.
//!
//! # Invariant
//!
//! Once started, every node says that all is well, and every replica follows its primary: a
//! fail-over can begin at once. What is asked of the cluster is asked of nodes that run; those that
//! were killed are left out.

use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use crate::SLOTS;
use crate::replica_set::info;
use crate::server::{Binary, LocalServer, ServerError, ServerOptions, free_port};

/// A cluster that fails over and can be resharded. Dropping it kills its nodes.
///
/// It serves the slots that it can while others have nobody to serve them, unlike a cluster with
/// the server's defaults, and takes a second to notice that a node is gone.
#[derive(Debug)]
pub struct LocalCluster {
    /// The nodes: first those that begin as primaries, then a replica for each, in the same order,
    /// then those that were added.
    pub servers: Vec<LocalServer>,
    replicas: usize,
    /// The ids of the nodes, in their order.
    ids: Vec<String>,
}

impl LocalCluster {
    /// Starts as many `primaries`, at least three for fail-overs, and if `replicated` a replica for
    /// each. Takes about three seconds.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if one of them does not start, or they do not find each other.
    ///
    /// # Panics
    ///
    /// If there are to be no primaries, or more than slots.
    pub fn start(binary: &Binary, primaries: usize, replicated: bool) -> Result<Self, ServerError> {
        let count = u16::try_from(primaries).expect("fewer primaries than slots");
        assert!((1..=SLOTS).contains(&count), "at least one for the slots");
        let nodes = if replicated { 2 * primaries } else { primaries };
        let servers = (0..nodes).map(|_| start_node(binary));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let ids = servers.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        let cluster = Self {
            servers,
            replicas: nodes - primaries,
            ids,
        };
        cluster.divide(count)?;
        for server in &cluster.servers[1..] {
            cluster.introduce(server)?;
        }
        cluster.wait_until_known()?;
        cluster.replicate(primaries)?;
        cluster.wait_until_well()?;
        Ok(cluster)
    }

    /// The URL for clients, which names every node.
    pub fn url(&self) -> String {
        let places: Vec<String> = self.servers.iter().map(place).collect();
        format!("redis+cluster://{}", places.join(","))
    }

    /// Which of the servers serves `slot`, as the first that runs has it; none if it is none that
    /// runs.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let running = |server: &&LocalServer| server.run(&redis::cmd("PING")).is_ok();
        let server = self.servers.iter().find(running)?;
        self.owner_by(server, slot)
    }

    /// Waits until all that run say that `slot` is served by another than the server with the
    /// number `killed`, and returns the number of that one.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if it takes longer than half a minute.
    pub fn wait_for_promotion(&self, slot: u16, killed: usize) -> Result<usize, ServerError> {
        let owner = || self.owner(slot).filter(|owner| *owner != killed);
        self.wait("a replica was promoted", |_| owner().is_some())?;
        let owner = owner().ok_or_else(|| failed(format!("nobody serves slot {slot}")))?;
        self.wait_for_owner(slot, owner)?;
        Ok(owner)
    }

    /// Starts a server that was killed again, empty, and waits until all is well. Whoever was
    /// promoted in its place stays, and it follows him.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it does not start, or not all is well after half a minute.
    ///
    /// # Panics
    ///
    /// If there is no server of that number.
    pub fn restart(&mut self, server: usize) -> Result<(), ServerError> {
        self.servers[server].restart()?;
        self.wait_until_well()
    }

    /// Waits until all nodes say that all is well: no slot is without a node, and as many replicas
    /// as there were at first follow a primary.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if it takes longer than half a minute.
    pub fn wait_until_well(&self) -> Result<(), ServerError> {
        let all = format!("cluster_slots_ok:{SLOTS}\r");
        self.wait("all is well", |cluster| {
            let mut nodes = cluster.servers.iter();
            let well = nodes.all(|node| says(node, "cluster_state:ok") && says(node, &all));
            let nodes = cluster.servers.iter();
            let following = nodes.filter(|node| {
                let info = info(node, "replication");
                info.is_some_and(|info| info.contains("master_link_status:up"))
            });
            well && following.count() == cluster.replicas
        })
    }

    /// Adds a primary that serves nothing yet, and returns its number.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it does not start, or the others do not hear of it.
    pub fn add_primary(&mut self) -> Result<usize, ServerError> {
        let server = start_node(self.servers[0].binary())?;
        self.introduce(&server)?;
        self.ids.push(id(&server)?);
        self.servers.push(server);
        self.wait_until_known()?;
        self.wait_until_well()?;
        Ok(self.servers.len() - 1)
    }

    /// Begins to move `slot` to the server with number `to`: from now on, who asks for keys that
    /// are not where they were is sent there, once.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if nobody serves it, or the nodes refuse.
    pub fn begin_move(&self, slot: u16, to: usize) -> Result<(), ServerError> {
        let from = self.owner(slot);
        let from = from.ok_or_else(|| failed(format!("nobody serves slot {slot}")))?;
        self.set_slot(to, slot, "IMPORTING", from)?;
        self.set_slot(from, slot, "MIGRATING", to)
    }

    /// Moves the keys of `slot` that are still where they were, no more than `keys_max`. Returns
    /// how many.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if the nodes refuse.
    pub fn move_keys(&self, slot: u16, to: usize, keys_max: usize) -> Result<usize, ServerError> {
        let from = self.owner(slot);
        let from = from.ok_or_else(|| failed(format!("nobody serves slot {slot}")))?;
        let mut asked = redis::cmd("CLUSTER");
        asked.arg("GETKEYSINSLOT").arg(slot).arg(keys_max);
        let Value::Array(keys) = self.servers[from].run(&asked)? else {
            return Err(failed("no list of keys".to_owned()));
        };
        let count = keys.len();
        if count > 0 {
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(port(&self.servers[to]));
            migrate.arg("").arg(0).arg(MIGRATE_TIMEOUT_MS).arg("KEYS");
            for key in keys {
                let Value::BulkString(key) = key else {
                    return Err(failed("a key that is none".to_owned()));
                };
                migrate.arg(key);
            }
            self.servers[from].run(&migrate)?;
        }
        Ok(count)
    }

    /// Gives `slot`, whose keys were moved, to the server with number `to`, and waits until all
    /// know it.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if the nodes refuse.
    pub fn end_move(&self, slot: u16, to: usize) -> Result<(), ServerError> {
        let from = self.owner(slot);
        self.set_slot(to, slot, "NODE", to)?;
        if let Some(from) = from {
            self.set_slot(from, slot, "NODE", to)?;
        }
        self.wait_for_owner(slot, to)
    }

    /// Moves `slot` with all its keys to the server with number `to`, a few keys at a time, as an
    /// operator's tool does.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if the nodes refuse.
    pub fn move_slot(&self, slot: u16, to: usize) -> Result<(), ServerError> {
        self.begin_move(slot, to)?;
        while self.move_keys(slot, to, KEYS_AT_ONCE)? > 0 {}
        self.end_move(slot, to)
    }

    /// Gives each primary its part of the slots.
    fn divide(&self, primaries: u16) -> Result<(), ServerError> {
        for (number, server) in (0..primaries).zip(&self.servers) {
            let slots = part(number, primaries);
            let mut command = redis::cmd("CLUSTER");
            command.arg("ADDSLOTSRANGE");
            server.run(command.arg(*slots.start()).arg(*slots.end()))?;
        }
        // Equal epochs would be made different one after the other, some way into the cluster's
        // life.
        for (epoch, server) in (1..).zip(&self.servers) {
            let mut command = redis::cmd("CLUSTER");
            server.run(command.arg("SET-CONFIG-EPOCH").arg(epoch))?;
        }
        Ok(())
    }

    /// The first meets another, who hears of the others from it.
    fn introduce(&self, other: &LocalServer) -> Result<(), ServerError> {
        let mut bus = redis::cmd("CONFIG");
        let bus = other.run(bus.arg("GET").arg("cluster-port"))?;
        let bus = match &bus {
            Value::Array(pair) => pair.last().and_then(text),
            _ => None,
        };
        let bus = bus.ok_or_else(|| failed("no port for other nodes".to_owned()))?;
        let mut meet = redis::cmd("CLUSTER");
        meet.arg("MEET").arg("127.0.0.1").arg(port(other)).arg(bus);
        self.servers[0].run(&meet).map(drop)
    }

    fn wait_until_known(&self) -> Result<(), ServerError> {
        let known = format!("cluster_known_nodes:{}\r", self.servers.len());
        self.wait("they know each other", |cluster| {
            let mut nodes = cluster.servers.iter();
            nodes.all(|node| says(node, &known))
        })
    }

    /// Those behind the `primaries` follow them.
    fn replicate(&self, primaries: usize) -> Result<(), ServerError> {
        for (replica, id) in self.servers[primaries..].iter().zip(&self.ids) {
            let mut command = redis::cmd("CLUSTER");
            let command = command.arg("REPLICATE").arg(id);
            // It must have heard of its primary, not only counted it.
            self.wait("a replica knows its primary", |_| {
                replica.run(command).is_ok()
            })?;
        }
        Ok(())
    }

    /// Waits until all that run say that the server with number `owner` serves `slot`.
    fn wait_for_owner(&self, slot: u16, owner: usize) -> Result<(), ServerError> {
        self.wait("the slot is another's", |cluster| {
            let mut servers = cluster.servers.iter();
            servers.all(|server| {
                let gone = server.run(&redis::cmd("PING")).is_err();
                gone || cluster.owner_by(server, slot) == Some(owner)
            })
        })
    }

    fn set_slot(&self, on: usize, slot: u16, state: &str, node: usize) -> Result<(), ServerError> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SETSLOT").arg(slot).arg(state);
        self.servers[on].run(command.arg(&self.ids[node])).map(drop)
    }

    fn owner_by(&self, server: &LocalServer, slot: u16) -> Option<usize> {
        let Ok(Value::Array(ranges)) = server.run(redis::cmd("CLUSTER").arg("SLOTS")) else {
            return None;
        };
        let id = ranges.iter().find_map(|range| {
            let Value::Array(range) = range else {
                return None;
            };
            let [Value::Int(first), Value::Int(last), Value::Array(node), ..] = &range[..] else {
                return None;
            };
            let slots = *first..=*last;
            slots
                .contains(&i64::from(slot))
                .then(|| text(node.get(2)?))?
        })?;
        self.ids.iter().position(|known| *known == id)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "waits for processes, which live in real time"
    )]
    fn wait(&self, what: &str, goal: impl Fn(&Self) -> bool) -> Result<(), ServerError> {
        let deadline = Instant::now() + GOSSIP_TIMEOUT;
        while !goal(self) {
            if Instant::now() >= deadline {
                return Err(failed(format!("in vain waited until {what}")));
            }
            thread::sleep(GOSSIP_POLL);
        }
        Ok(())
    }
}

fn start_node(binary: &Binary) -> Result<LocalServer, ServerError> {
    let mut retries = PORT_RETRIES;
    loop {
        let bus = free_port()?.to_string();
        let arguments = [
            ["--cluster-enabled", "yes"],
            // By default it is the port for clients and 10000, which may be too much.
            ["--cluster-port", &bus],
            ["--cluster-config-file", "nodes.conf"],
            ["--cluster-node-timeout", NODE_TIMEOUT_MS],
            ["--cluster-require-full-coverage", "no"],
            // A primary that has given its last slot away would become a replica.
            ["--cluster-allow-replica-migration", "no"],
            // A replica that is new waits 5 s for company before it is sent the data otherwise.
            ["--repl-diskless-sync-delay", "0"],
        ];
        let options = ServerOptions {
            binary: Some(binary.clone()),
            arguments: arguments.concat().into_iter().map(str::to_owned).collect(),
            ..ServerOptions::default()
        };
        match LocalServer::start(&options) {
            // Another took the second port, which is in the options.
            Err(ServerError::Exited { .. }) if retries > 0 => retries -= 1,
            started => return started,
        }
    }
}

/// The slots of one of so many.
fn part(number: u16, of: u16) -> RangeInclusive<u16> {
    let begin = |number: u16| u32::from(SLOTS) * u32::from(number) / u32::from(of);
    let narrow = |slot| u16::try_from(slot).expect("slots fit");
    narrow(begin(number))..=narrow(begin(number + 1) - 1)
}

/// The id of a node.
fn id(node: &LocalServer) -> Result<String, ServerError> {
    let id = text(&node.run(redis::cmd("CLUSTER").arg("MYID"))?);
    id.ok_or_else(|| failed("a node without an id".to_owned()))
}

/// Whether `line` stands in what `node` says of the cluster.
fn says(node: &LocalServer, line: &str) -> bool {
    let info = node.run(Cmd::new().arg("CLUSTER").arg("INFO"));
    let info = info.ok().as_ref().and_then(text);
    info.is_some_and(|info| info.contains(line))
}

fn port(server: &LocalServer) -> u16 {
    server.port().expect("no socket was asked for")
}

fn place(server: &LocalServer) -> String {
    format!("127.0.0.1:{}", port(server))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    }
}

fn failed(what: String) -> ServerError {
    ServerError::Command { what }
}

/// After this long without an answer a node is taken for gone.
const NODE_TIMEOUT_MS: &str = "1000";
const MIGRATE_TIMEOUT_MS: u32 = 2000;
/// As `redis-cli --cluster reshard` does.
const KEYS_AT_ONCE: usize = 10;
/// A new node takes two seconds before it says that all is well, a fail-over some more.
const GOSSIP_TIMEOUT: Duration = Duration::from_secs(30);
const GOSSIP_POLL: Duration = Duration::from_millis(20);
/// As for a server's own port.
const PORT_RETRIES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_slots_are_all_of_them() {
        for of in [1, 3, 7, SLOTS] {
            let mut next = 0;
            for number in 0..of {
                let part = part(number, of);
                assert_eq!(*part.start(), next);
                next = part.end() + 1;
            }
            assert_eq!(next, SLOTS);
        }
    }
}
