//! A primary that is found through sentinels, before and after it fails over.

use std::sync::Arc;
use std::time::Duration;

use leasehold_redis::{
    ConnectFault, Credentials, DownReason, Link, LinkError, RedisStore, Settings,
};
use leasehold_testbed::{LocalServer, ReplicaSet, ServerOptions};
use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::load::Load;
use super::*;

/// Kills the primary under load, and holds what the limiter admits against the limit all the while.
#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_is_followed_and_admits_no_more_than_the_limit() {
    on_each_set(async |mut set| {
        let store = RedisStore::connect(settings(&set.url()).expect("a URL")).await;
        let store = Arc::new(store.expect("connects"));
        let load = Load::on(&store, 2000, 1000);
        sleep(Duration::from_secs(1)).await;

        let killed = Instant::now();
        let before = load.admitted();
        set.servers[0].kill();
        within(Duration::from_secs(1), link_of(&store).down()).await;
        // The sentinels say so some time after the promotion: when they have seen it.
        let old = set.servers[0].port();
        let told = async {
            while set.named() == old {
                sleep(Duration::from_millis(10)).await;
            }
            killed.elapsed()
        };
        let told = within(FAIL_OVER, told).await;
        within(Duration::from_secs(1), link_of(&store).up()).await;
        let up = killed.elapsed();
        println!("sentinels told after {told:.2?}, up after {up:.2?}");

        // The new server counts as emptied until one longest lease has passed.
        let again = async {
            while load.admitted() < before + 3000 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(HOLD + RECOVERY, again).await;
        println!("tokens flow again after {:.2?}", killed.elapsed());
        load.ends_within_the_limit().await;
    })
    .await;
}

/// The last writes of a primary are lost when a replica that missed them is promoted; here, all of
/// its writes but the first. What it leased out must not be leased out again.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_that_missed_everything_gives_nothing_twice() {
    for binary in LocalServer::find_or_skip() {
        println!("on {binary}");
        let options = ServerOptions {
            binary: Some(binary),
            ..ServerOptions::default()
        };
        let mut old = LocalServer::start(&options).expect("starts");
        let new = LocalServer::start(&options).expect("starts");
        let sentinel = Sentinel::that_says(&old).await;
        let settings = settings(&sentinel.url(&[])).expect("a URL");
        let store = RedisStore::connect(settings).await.expect("connects");
        let store = Arc::new(store);
        // The marker is written by the first exchange.
        let first = Load::on(&store, 1, 10);
        sleep(Duration::from_millis(300)).await;
        replicate(&new, Some(&old));
        let copied = async {
            while keys(&new) < 2 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(RECOVERY * 2, copied).await;
        replicate(&new, None);
        first.ends_within_the_limit().await;

        let load = Load::on(&store, 100, 2000);
        let spent = async {
            while load.admitted() < 2000 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(RECOVERY, spent).await;
        old.kill();
        sentinel.says("127.0.0.1", new.port().expect("a port"));
        within(Duration::from_secs(1), link_of(&store).down()).await;
        within(RECOVERY, link_of(&store).up()).await;
        sleep(Duration::from_secs(2)).await;
        load.ends_within_the_limit().await;
    }
}

/// A primary that is frozen keeps its connections: timeouts tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_left_for_the_promoted_one() {
    on_each_set(async |set| {
        let link = connect(&set.url()).await.expect("connects");
        assert_eq!(set_key(&link).await, Ok(Value::Okay));
        set.servers[0].pause().expect("freezes");
        let frozen = Instant::now();
        let heals = async {
            while set_key(&link).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        within(FAIL_OVER, heals).await;
        println!("answered again after {:.2?}", frozen.elapsed());
        set.servers[0].resume().expect("goes on");
    })
    .await;
}

/// A primary that its sentinels cannot reach any more does not know that it is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_the_sentinels_moved_is_left_though_it_answers() {
    for binary in LocalServer::find_or_skip() {
        let options = ServerOptions {
            binary: Some(binary),
            ..ServerOptions::default()
        };
        let (old, new) = (
            LocalServer::start(&options).expect("starts"),
            LocalServer::start(&options).expect("starts"),
        );
        let sentinel = Sentinel::that_says(&old).await;
        let mut settings = settings(&sentinel.url(&[])).expect("a URL");
        settings.sentinel_interval = Duration::from_millis(100);
        let link = Link::connect(settings, ()).await.expect("connects");
        assert_eq!(set_key(&link).await, Ok(Value::Okay));
        assert_eq!(keys(&old), 1);

        // A word that leads nowhere is no reason to leave.
        sentinel.says("127.0.0.1", 1);
        sleep(Duration::from_millis(500)).await;
        assert!(link.wire().is_ok(), "left for nothing");
        // Nor is one that leads to a replica.
        replicate(&new, Some(&old));
        sentinel.says("127.0.0.1", new.port().expect("a port"));
        sleep(Duration::from_millis(500)).await;
        assert!(link.wire().is_ok(), "left for a replica");

        replicate(&new, None);
        within(Duration::from_secs(1), link.down()).await;
        let error = set_key(&link).await.expect_err("between two servers");
        assert!(
            matches!(
                error,
                LinkError::Down {
                    reason: DownReason::Moved { .. },
                    ..
                }
            ),
            "{error}"
        );
        within(RECOVERY, link.up()).await;
        new.run(&redis::cmd("FLUSHALL")).expect("empties");
        assert_eq!(set_key(&link).await, Ok(Value::Okay));
        assert_eq!(keys(&new), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_lies_or_is_gone_or_is_mute_is_passed_over() {
    for binary in LocalServer::find_or_skip() {
        let options = ServerOptions {
            binary: Some(binary),
            ..ServerOptions::default()
        };
        let primary = LocalServer::start(&options).expect("starts");
        let replica = LocalServer::start(&options).expect("starts");
        replicate(&replica, Some(&primary));
        let honest = Sentinel::that_says(&primary).await;
        let liar = Sentinel::that_says(&replica).await;
        let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mute = mute.local_addr().expect("an address").to_string();
        let gone = "127.0.0.1:1".to_owned();

        let started = Instant::now();
        let others = [gone.clone(), mute.clone(), liar.place.clone()];
        let link = connect(&honest.url(&others)).await.expect("connects");
        assert_eq!(set_key(&link).await, Ok(Value::Okay));
        assert_eq!(keys(&primary), 1, "the honest one was believed");
        assert!(started.elapsed() < Duration::from_secs(1));

        // With no honest one, what the liar's server said.
        let url = format!("redis+sentinel://{gone},{}/main", liar.place);
        let error = connect(&url).await.expect_err("a replica");
        let role = "slave".to_owned();
        assert_eq!(error.fault, ConnectFault::NotPrimary { role });
        assert!(error.to_string().contains(&liar.place), "{error}");

        // With none at all, each and why.
        let url = format!("redis+sentinel://{gone},{mute}/main");
        let error = connect(&url).await.expect_err("nobody to ask");
        assert!(matches!(error.fault, ConnectFault::Sentinels { .. }));
        for part in [&gone, &mute, "timed out", "nothing listens"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_the_sentinels_do_not_know_is_named_and_so_are_those_they_do() {
    for binary in LocalServer::find_or_skip() {
        let set = ReplicaSet::start(&binary, 0, 1).expect("starts");
        let url = set.url().replace("/main", "/other");
        let fault = connect(&url).await.expect_err("not watched").fault;
        let (name, known) = ("other".to_owned(), "main".to_owned());
        assert_eq!(fault, ConnectFault::UnknownPrimary { name, known });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_have_a_password_of_their_own() {
    for binary in LocalServer::find_or_skip() {
        let options = ServerOptions {
            binary: Some(binary.clone()),
            password: Some("the server's".to_owned()),
            ..ServerOptions::default()
        };
        let primary = LocalServer::start(&options).expect("starts");
        let port = primary.port().expect("a port");
        let sentinel = LocalServer::start(&ServerOptions {
            password: Some("the sentinel's".to_owned()),
            sentinel: Some(vec![
                format!("monitor main 127.0.0.1 {port} 1"),
                "auth-pass main \"the server's\"".to_owned(),
            ]),
            ..options
        });
        let sentinel = sentinel.expect("starts");
        let place = sentinel.port().expect("a port");
        let url = format!("redis+sentinel://:the%20server%27s@127.0.0.1:{place}/main");
        let error = connect(&url).await.expect_err("not let in");
        assert!(error.to_string().contains("NOAUTH"), "{error}");
        assert!(
            error.to_string().contains("sentinel_credentials"),
            "{error}"
        );

        let mut settings: Settings = settings(&url).expect("a URL");
        settings.sentinel_credentials = Some(Credentials {
            username: None,
            password: "the sentinel's".to_owned(),
        });
        let link = Link::connect(settings, ()).await.expect("connects");
        assert_eq!(set_key(&link).await, Ok(Value::Okay));
    }
}

/// Runs `test` on a primary with two replicas and three sentinels, of each kind found here.
async fn on_each_set(test: impl AsyncFn(ReplicaSet)) {
    for binary in LocalServer::find_or_skip() {
        println!("on {binary}");
        test(ReplicaSet::start(&binary, 2, 3).expect("starts")).await;
    }
}

async fn set_key(link: &Link) -> Result<Value, LinkError> {
    super::set(link).await
}

fn keys(server: &LocalServer) -> i64 {
    match server.run(&redis::cmd("DBSIZE")) {
        Ok(Value::Int(keys)) => keys,
        other => panic!("{other:?}"),
    }
}

/// Makes `server` a replica of `of`, or a primary, and waits until it knows.
fn replicate(server: &LocalServer, of: Option<&LocalServer>) {
    let mut command = redis::cmd("REPLICAOF");
    match of {
        Some(of) => command.arg("127.0.0.1").arg(of.port().expect("a port")),
        None => command.arg("NO").arg("ONE"),
    };
    server.run(&command).expect("changes its role");
}

/// A server that answers like a sentinel, with prepared answers.
struct Sentinel {
    place: String,
    word: watch::Sender<(String, u16)>,
}

impl Sentinel {
    async fn that_says(server: &LocalServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let place = listener.local_addr().expect("an address").to_string();
        let port = server.port().expect("a port");
        let (word, told) = watch::channel(("127.0.0.1".to_owned(), port));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let mut asked = [0; 1024];
                    // The handshake, then the question.
                    let _ = stream.read(&mut asked).await;
                    let _ = stream.write_all(b"+OK\r\n+PONG\r\n").await;
                    let _ = stream.read(&mut asked).await;
                    let (host, port) = told.borrow().clone();
                    let (port, length) = (port.to_string(), host.len());
                    let digits = port.len();
                    let answer = format!("*2\r\n${length}\r\n{host}\r\n${digits}\r\n{port}\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.read(&mut asked).await;
                });
            }
        });
        Self { place, word }
    }

    fn says(&self, host: &str, port: u16) {
        self.word.send_replace((host.to_owned(), port));
    }

    /// A URL that names `others` before this one.
    fn url(&self, others: &[String]) -> String {
        let mut places = others.to_vec();
        places.push(self.place.clone());
        format!("redis+sentinel://{}/main", places.join(","))
    }
}

/// The time that sentinels may take from the primary's end to a new one: half a second to notice, a
/// second or two to elect, more on a busy machine.
const FAIL_OVER: Duration = Duration::from_secs(15);
/// The default wait of a server that may have forgotten leases.
const HOLD: Duration = Duration::from_secs(10);
