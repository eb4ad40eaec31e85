//! A server's health: what is read, what is warned of, and what may stay private.

use std::io::Write;
use std::sync::{Arc, Mutex};

use leasehold_redis::{RedisStore, acl_rules};
use leasehold_testbed::ServerOptions;

use super::*;

/// On one thread: the log is that thread's.
#[tokio::test]
async fn a_server_that_may_evict_our_keys_is_warned_of_once_per_connection() {
    on_each_server(bounded("allkeys-lru"), async |server| {
        let log = Log::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || written.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let store = RedisStore::connect(settings(&server.url()).expect("a URL")).await;
        let store = store.expect("connects");
        let eviction = store.health().expect("asked").eviction.expect("it evicts");
        assert_eq!(eviction.policy, "allkeys-lru");
        assert_eq!(eviction.memory_max_bytes, Some(100_000_000));
        assert_eq!(log.count("noeviction"), 1, "says what to set");

        store.examine().await.expect("answers");
        assert_eq!(log.count("noeviction"), 1, "not at every look");
        server
            .run(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal"))
            .expect("kills");
        within(RECOVERY, link_of(&store).down()).await;
        within(RECOVERY, link_of(&store).up()).await;
        assert_eq!(log.count("noeviction"), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_what_it_is_and_what_it_has_evicted() {
    on_each_server(bounded("noeviction"), async |server| {
        let store = RedisStore::connect(settings(&server.url()).expect("a URL")).await;
        let store = store.expect("connects");
        let health = store.health().expect("asked");
        let binary = server.binary();
        let kind = format!("{:?}", binary.kind).to_lowercase();
        assert_eq!(health.server, Some(kind));
        assert_eq!(health.version, Some(binary.version.clone()));
        assert_eq!(health.role.as_deref(), Some("master"));
        assert_eq!(health.eviction, None);
        assert_eq!(health.evicted_keys, Some(0));
        assert!(info(&server, "server").contains(&format!("run_id:{}\r", health.run_id)));

        // Now it evicts.
        let config = |name: &str, value: &str| {
            let mut command = redis::cmd("CONFIG");
            command.arg("SET").arg(name).arg(value);
            server.run(&command).expect("is set");
        };
        config("maxmemory-policy", "allkeys-random");
        for number in 0..100 {
            let mut command = redis::cmd("SET");
            command.arg(format!("key{number}")).arg(vec![b'x'; 10_000]);
            server.run(&command).expect("is set");
        }
        config("maxmemory", "1mb");
        server.run(redis::cmd("SET").arg("key").arg("x")).ok();
        let evicted = async {
            while store.examine().await.expect("answers").evicted_keys == Some(0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(RECOVERY, evicted).await;
        let health = store.health().expect("asked");
        assert_eq!(health.eviction.expect("it evicts").policy, "allkeys-random");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_not_be_asked_is_used_all_the_same() {
    on_each_server(bounded("volatile-lru"), async |server| {
        let port = server.port().expect("a port");
        let url = format!("redis://app:secret@127.0.0.1:{port}");
        let rules = acl_rules("leasehold").replace("+info", "+info|server");
        for (extra, known) in [("", None), (" +config|get", Some("volatile-lru"))] {
            let mut command = redis::cmd("ACL");
            command.arg("SETUSER").arg("app").arg("reset");
            command.arg("on").arg(">secret");
            for rule in format!("{rules}{extra}").split_whitespace() {
                command.arg(rule);
            }
            server.run(&command).expect("becomes one");
            let store = RedisStore::connect(settings(&url).expect("a URL")).await;
            let health = store.expect("connects").health().expect("asked");
            let policy = health.eviction.map(|eviction| eviction.policy);
            assert_eq!(policy.as_deref(), known);
            assert_eq!((health.role, health.evicted_keys), (None, None));
            assert_eq!(health.version.as_ref(), Some(&server.binary().version));
        }
    })
    .await;
}

fn bounded(policy: &str) -> ServerOptions {
    ServerOptions {
        arguments: ["--maxmemory", "100000000", "--maxmemory-policy", policy]
            .map(str::to_owned)
            .to_vec(),
        ..ServerOptions::default()
    }
}

/// The log lines.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines of this thread, for as long as the guard lives.
    pub(super) fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || written.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn count(&self, word: &str) -> usize {
        let log = self.0.lock().expect("no panic under it");
        String::from_utf8_lossy(&log).matches(word).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic under it").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
