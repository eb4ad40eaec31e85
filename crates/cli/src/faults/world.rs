//! The world that a row is tried on: servers of its own, a way to them, and the processes of the
//! replicas.
//!
//! # Invariant
//!
//! Everything here was started for the row and ends with it: servers and proxies with the world,
//! replicas with their fleet.

use std::time::Duration;

use leasehold::store::partition_of;
use leasehold_redis::codec::{EXCHANGE, Names};
use leasehold_testbed::{
    Binary, LocalCluster, LocalServer, Proxy, ReplicaSet, ServerOptions, Way, Words,
};
use redis::{Cmd, Connection};
use rustix::process::{Pid, Signal, kill_process};

use super::error::FaultsError;
use crate::demo::replica::{LIMIT, subject};

/// The servers that a row needs, and the way from the replicas to them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scene {
    /// One server.
    Server,
    /// One server, and a proxy on the way of all replicas.
    Proxied,
    /// One server, and a proxy on the way of the replica that is to suffer.
    ProxiedVictim,
    /// A primary and a replica of it, and three sentinels.
    Sentinels,
    /// A cluster of three primaries, each with a replica.
    Cluster,
}

/// A scene that was set up.
#[derive(Debug)]
pub(crate) struct World {
    scene: Scene,
    servers: Servers,
    proxy: Option<Proxy>,
    admin: Option<Admin>,
    /// The processes of the replicas, once they have started.
    pub(crate) replicas: Vec<u32>,
    /// The prefix of the store's keys, once it is known.
    pub(crate) prefix: String,
}

#[derive(Debug)]
enum Servers {
    One(Box<LocalServer>),
    Set(ReplicaSet),
    Cluster(Box<LocalCluster>),
}

impl World {
    /// Starts what `scene` needs.
    pub(crate) async fn set_up(scene: Scene, binary: &Binary) -> Result<Self, FaultsError> {
        let servers = match scene {
            Scene::Sentinels => Servers::Set(ReplicaSet::start(binary, 1, SENTINELS)?),
            Scene::Cluster => {
                let cluster = LocalCluster::start(binary, PRIMARIES, true)?;
                Servers::Cluster(Box::new(cluster))
            }
            Scene::Server | Scene::Proxied | Scene::ProxiedVictim => {
                let options = ServerOptions {
                    binary: Some(binary.clone()),
                    ..ServerOptions::default()
                };
                Servers::One(Box::new(LocalServer::start(&options)?))
            }
        };
        let mut world = Self {
            scene,
            servers,
            proxy: None,
            admin: None,
            replicas: Vec::new(),
            prefix: String::new(),
        };
        if matches!(scene, Scene::Proxied | Scene::ProxiedVictim) {
            let port = world.server().port().expect("no socket was asked for");
            let proxy = Proxy::before(port).await.map_err(FaultsError::Proxy)?;
            world.proxy = Some(proxy);
        }
        Ok(world)
    }

    /// Where a replica finds the store.
    pub(crate) fn url(&self, replica: u32) -> String {
        match (&self.servers, &self.proxy) {
            (Servers::Set(set), _) => set.url(),
            (Servers::Cluster(cluster), _) => cluster.url(),
            (Servers::One(_), Some(proxy)) if self.scene == Scene::Proxied || replica == VICTIM => {
                proxy.url()
            }
            (Servers::One(server), _) => server.url(),
        }
    }

    /// The server; of several, the first, and of a cluster the one that serves the key.
    fn server(&mut self) -> &mut LocalServer {
        let slot = self.key_slot();
        match &mut self.servers {
            Servers::One(server) => server,
            Servers::Set(set) => &mut set.servers[0],
            Servers::Cluster(cluster) => {
                let owner = cluster.owner(slot).unwrap_or(0);
                &mut cluster.servers[owner]
            }
        }
    }

    /// Changes the way to the server, of those who go by the proxy.
    pub(crate) fn make(&self, way: Way) -> Result<(), FaultsError> {
        self.proxy.as_ref().ok_or(FaultsError::NoProxy)?.make(way);
        Ok(())
    }

    /// Kills the server, as a crash would.
    #[expect(clippy::unnecessary_wraps, reason = "other acts may fail")]
    pub(crate) fn kill_server(&mut self) -> Result<(), FaultsError> {
        self.server().kill();
        Ok(())
    }

    /// Starts it again, empty; it answers by then.
    pub(crate) fn restart_server(&mut self) -> Result<(), FaultsError> {
        Ok(self.server().restart()?)
    }

    /// Freezes the server.
    pub(crate) fn pause_server(&mut self) -> Result<(), FaultsError> {
        Ok(self.server().pause()?)
    }

    /// Lets it go on.
    pub(crate) fn resume_server(&mut self) -> Result<(), FaultsError> {
        Ok(self.server().resume()?)
    }

    /// Has the server's clock, as the script reads it, go ahead by so much, or back.
    ///
    /// Only root may set a clock. So the server is given the script once more with a clock that is
    /// off, and the proxy has the replicas run that.
    pub(crate) fn step_clock(&mut self, micros: i64) -> Result<(), FaultsError> {
        let stepped = with_clock_off(EXCHANGE, micros);
        self.run(redis::cmd("SCRIPT").arg("LOAD").arg(&stepped))?;
        let name = |script| redis::Script::new(script).get_hash().to_owned();
        let words = vec![Words::new(&name(EXCHANGE), &name(&stepped))];
        self.make(Way::Exchanged(words.into()))
    }

    /// One command to the server, by a connection of its own.
    pub(crate) fn run(&mut self, command: &Cmd) -> Result<(), FaultsError> {
        self.server().run(command)?;
        Ok(())
    }

    /// Has the server ask everybody for a password and ends all connections; ours stays.
    pub(crate) fn lock_out(&mut self) -> Result<(), FaultsError> {
        let mut admin = Admin::enter(&self.server().url())?;
        admin.say(&["CONFIG", "SET", "requirepass", "nobody knows"])?;
        admin.say(&["CLIENT", "KILL", "TYPE", "normal"])?;
        self.admin = Some(admin);
        Ok(())
    }

    /// Undoes [`lock_out`](Self::lock_out).
    pub(crate) fn let_in(&mut self) -> Result<(), FaultsError> {
        let mut admin = self.admin.take().ok_or(FaultsError::NotLockedOut)?;
        admin.say(&["CONFIG", "SET", "requirepass", ""])
    }

    /// Ends the replication to the server that will be promoted, as a network would that is cut.
    ///
    /// A replica that stands still would not do: what was sent to it lies in its socket, and it
    /// would read it all before its promotion.
    pub(crate) fn lag(&mut self) -> Result<(), FaultsError> {
        let set = self.set()?;
        let password = ["SET", "masterauth", "wrong"];
        set.servers[1].run(redis::cmd("CONFIG").arg(&password[..]))?;
        let replicas = ["KILL", "TYPE", "replica"];
        set.servers[0].run(redis::cmd("CLIENT").arg(&replicas[..]))?;
        Ok(())
    }

    /// Waits until the sentinels name another primary.
    pub(crate) fn await_promotion(&mut self) -> Result<(), FaultsError> {
        let set = self.set()?;
        let old = set.servers[0].port();
        for _ in 0..PROMOTION.as_millis() / POLL.as_millis() {
            if set.named().is_some_and(|named| Some(named) != old) {
                return Ok(());
            }
            #[expect(clippy::disallowed_methods, reason = "waits for other processes")]
            std::thread::sleep(POLL);
        }
        Err(FaultsError::NoPromotion)
    }

    /// Kills the primary that serves the key, and waits until its replica was promoted.
    pub(crate) fn kill_owner(&mut self) -> Result<(), FaultsError> {
        let slot = self.key_slot();
        let cluster = self.cluster()?;
        let owner = cluster.owner(slot).ok_or(FaultsError::NoOwner)?;
        cluster.servers[owner].kill();
        cluster.wait_for_promotion(slot, owner)?;
        Ok(())
    }

    /// Moves the slot of the key, with all that is in it, to another primary.
    pub(crate) fn move_key(&mut self) -> Result<(), FaultsError> {
        let slot = self.key_slot();
        let cluster = self.cluster()?;
        let owner = cluster.owner(slot).ok_or(FaultsError::NoOwner)?;
        Ok(cluster.move_slot(slot, (owner + 1) % PRIMARIES)?)
    }

    /// In which slot of a cluster the one key of the load lies.
    fn key_slot(&self) -> u16 {
        let (names, subject) = (Names::spread(&self.prefix), subject(0));
        names.slot(partition_of(LIMIT, subject.as_bytes(), names.partitions()))
    }

    fn cluster(&mut self) -> Result<&mut LocalCluster, FaultsError> {
        match &mut self.servers {
            Servers::Cluster(cluster) => Ok(cluster),
            Servers::One(_) | Servers::Set(_) => Err(FaultsError::NoCluster),
        }
    }

    fn set(&self) -> Result<&ReplicaSet, FaultsError> {
        match &self.servers {
            Servers::Set(set) => Ok(set),
            Servers::One(_) | Servers::Cluster(_) => Err(FaultsError::NoSet),
        }
    }

    /// Sends a signal to the process of the replica that is to suffer.
    pub(crate) fn signal_victim(&self, signal: Signal) -> Result<(), FaultsError> {
        let process_id = self.replicas.get(VICTIM as usize);
        let process_id = process_id.and_then(|&id| Pid::from_raw(i32::try_from(id).ok()?));
        let process_id = process_id.ok_or(FaultsError::NoVictim)?;
        kill_process(process_id, signal).map_err(|error| FaultsError::Signal(error.into()))
    }
}

/// A connection that is let in as long as it lasts.
struct Admin(Connection);

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

impl Admin {
    fn enter(url: &str) -> Result<Self, FaultsError> {
        let connection = redis::Client::open(url).and_then(|client| client.get_connection());
        connection
            .map(Self)
            .map_err(|error| FaultsError::admin(&error))
    }

    fn say(&mut self, words: &[&str]) -> Result<(), FaultsError> {
        let mut command = Cmd::new();
        command.arg(words);
        let said = command.query::<redis::Value>(&mut self.0);
        said.map(drop).map_err(|error| FaultsError::admin(&error))
    }
}

fn with_clock_off(script: &str, micros: i64) -> String {
    let seconds = micros / 1_000_000;
    assert_eq!(seconds * 1_000_000, micros, "whole seconds");
    let off = script.replace(CLOCK, &format!("{CLOCK} clock[1] = clock[1] + ({seconds})"));
    assert_ne!(off, script, "the script reads the clock elsewhere now");
    off
}

/// The replica to which things happen that happen to one. The others go on.
pub(crate) const VICTIM: u32 = 3;

const SENTINELS: usize = 3;
const PRIMARIES: usize = 3;

/// Sentinels take half a second to notice, and may have to vote twice, 2 s apart.
const PROMOTION: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// Where a script reads the clock.
const CLOCK: &str = "local clock = call('TIME')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_a_clock_that_can_be_stepped() {
        let stepped = with_clock_off(EXCHANGE, -2_000_000);
        assert!(stepped.contains("clock[1] + (-2)"), "{stepped}");
    }
}
