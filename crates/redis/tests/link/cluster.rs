//! A cluster of three primaries and their replicas, whose slots move and whose nodes die.
//!
//! One cluster of each kind serves all these tests, one test after the other. Each has a prefix of
//! its own, finds out who serves what, and leaves all well.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};

use leasehold::store::{
    Answer, Batch, Call, Instant as LeaseInstant, NamedLimit, Request, Status, Store, StoreTime,
};
use leasehold::{FailurePolicy, LimitId, Limiter, Micros, Mode, StoreError, Tuning};
use leasehold_redis::codec::Names;
use leasehold_redis::{ConnectFault, RedisStore, acl_rules};
use leasehold_testbed::{Binary, LocalCluster};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::load::Load;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_partition_is_reached_and_its_keys_lie_in_a_slot_of_their_own() {
    on_each_cluster(async |cluster| {
        let store = connect_as("every", &cluster.url()).await;
        assert_eq!(store.partitions(), 64);
        let names = Names::spread("every");
        for partition in 0..store.partitions() {
            let answer = store
                .exchange(&spend_lasting(partition, NEVER, &["a", "b"]))
                .await;
            assert_eq!(statuses(&answer.expect("answers")), [Status::Spent; 2]);
            let owner = cluster.owner(names.slot(partition)).expect("served");
            for key in [
                names.marker(partition),
                names.bucket(partition, "api", b"b"),
            ] {
                let server = &cluster.servers[owner];
                let slot = server.run(redis::cmd("CLUSTER").arg("KEYSLOT").arg(&key));
                assert_eq!(
                    slot.expect("answers"),
                    Value::Int(names.slot(partition).into())
                );
                let there = server.run(redis::cmd("EXISTS").arg(&key));
                assert_eq!(there.expect("it is served there"), Value::Int(1));
            }
        }
        let error = store.exchange(&spend_lasting(64, NEVER, &["a"])).await;
        let error = error.expect_err("there are 64").to_string();
        assert!(error.contains("no partition 64"), "{error}");
    })
    .await;
}

/// The cost of a move: one more round trip, once, and one hold, because the new server cannot know
/// that nothing was lost on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_moved_is_followed_within_the_exchange() {
    on_each_cluster(async |cluster| {
        let store = unassisted("moved", cluster).await;
        let (partition, slot) = (5, Names::spread("moved").slot(5));
        let from = cluster.owner(slot).expect("served");
        let to = another_primary(cluster, from);
        let before = store.exchange(&spend(partition, NEVER, &["a"], 1)).await;
        let before = before.expect("answers").birth;
        assert_eq!(before.emptied, NEVER);

        cluster.move_slot(slot, to).expect("moves");
        let moved = Instant::now();
        let calls = store.round_trips();
        let answer = store
            .exchange(&spend(partition, before.since, &["a", "b"], 1))
            .await;
        let answer = answer.expect("is followed");
        assert_eq!(store.round_trips(), calls + 2, "one to each");
        assert!(answer.birth.since > before.since);
        assert!(answer.birth.emptied > NEVER, "its past is in doubt");
        assert_eq!(statuses(&answer), [Status::Denied; 2]);

        // A newcomer learns the same, and the way there is known by now.
        let calls = store.round_trips();
        let again = store.exchange(&spend(partition, NEVER, &["a"], 1)).await;
        let again = again.expect("answers");
        assert_eq!(store.round_trips(), calls + 1, "straight to the right one");
        assert_eq!(again.birth, answer.birth);
        // 1000 in a second, from one hold later on.
        let waited = spent_at_last(&store, partition, answer.birth.since).await;
        let after = moved.elapsed();
        println!("tokens again {after:.2?} after the move, with a hold of {HOLD:?}");
        assert!(after >= HOLD, "{waited:?}");
        cluster.move_slot(slot, from).expect("moves back");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_on_its_way_is_served_where_its_keys_are_or_refused_at_once() {
    on_each_cluster(async |cluster| {
        let store = unassisted("ask", cluster).await;
        let (partition, slot) = (17, Names::spread("ask").slot(17));
        let from = cluster.owner(slot).expect("served");
        // In nobody's map as long as it serves nothing.
        let to = cluster.add_primary().expect("joins");
        let all = ["a", "b", "c"];
        let before = store.exchange(&spend_lasting(partition, NEVER, &all)).await;
        let before = before.expect("answers").birth;

        cluster.begin_move(slot, to).expect("begins");
        let answer = store
            .exchange(&spend_lasting(partition, before.since, &all))
            .await;
        assert_eq!(answer.expect("nothing has moved").birth, before);
        // Some of its keys here, some there: neither node can run it.
        cluster.move_keys(slot, to, 2).expect("moves");
        refused(
            &store,
            &spend_lasting(partition, before.since, &all),
            "TRYAGAIN",
        )
        .await;

        while cluster.move_keys(slot, to, 10).expect("moves") > 0 {}
        let calls = store.round_trips();
        let answer = store
            .exchange(&spend_lasting(partition, before.since, &all))
            .await;
        let there = answer.expect("the other node answers").birth;
        assert!(there.since > before.since && there.emptied > NEVER);
        assert!(store.round_trips() >= calls + 2, "it was asked here first");
        // We are connected by now; the slot still is not there.
        let calls = store.round_trips();
        let answer = store
            .exchange(&spend_lasting(partition, there.since, &all))
            .await;
        assert_eq!(answer.expect("answers").birth, there);
        assert_eq!(
            store.round_trips(),
            calls + 2,
            "sent there once, not for good"
        );
        // A key that is on neither side.
        refused(
            &store,
            &spend_lasting(partition, there.since, &["new"]),
            "TRYAGAIN",
        )
        .await;

        cluster.end_move(slot, to).expect("ends");
        let answer = store
            .exchange(&spend_lasting(partition, there.since, &["new"]))
            .await;
        assert_eq!(answer.expect("it has arrived").birth, there);
        cluster.move_slot(slot, from).expect("moves back");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_nobody_serves_is_refused_at_once_until_somebody_does() {
    on_each_cluster(async |cluster| {
        let store = unassisted("unserved", cluster).await;
        let (partition, slot) = (50, Names::spread("unserved").slot(50));
        let asked = spend(partition, NEVER, &["a"], 1);
        store.exchange(&asked).await.expect("answers");
        let owner = cluster.owner(slot).expect("served");
        let change = |how: &str| {
            let mut command = redis::cmd("CLUSTER");
            let server = &cluster.servers[owner];
            server.run(command.arg(how).arg(slot)).expect("changes");
        };
        change("DELSLOTS");
        refused(&store, &asked, "CLUSTERDOWN").await;
        // By then the map may say so, too.
        let error = store.exchange(&asked).await.expect_err("still not");
        let said = error.to_string();
        assert!(
            said.contains("CLUSTERDOWN") || said.contains("serves slot"),
            "{said}"
        );
        change("ADDSLOTS");
        let again = async {
            while store.exchange(&asked).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(RECOVERY, again).await;
        cluster.wait_until_well().expect("all is served again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_takes_its_own_partitions_with_it_and_no_others() {
    on_each_cluster(async |cluster| {
        let store = connect_as("killed", &cluster.url()).await;
        let names = Names::spread("killed");
        let mut births = Vec::new();
        for partition in 0..store.partitions() {
            let answer = store.exchange(&spend(partition, NEVER, &["a"], 1000)).await;
            births.push(answer.expect("answers").birth);
        }
        let owners = (0..64).map(|partition| cluster.owner(names.slot(partition)).expect("served"));
        let owners: Vec<usize> = owners.collect();
        let victim = owners[0];
        let (lost, spared): (Vec<u32>, Vec<u32>) =
            (0..64).partition(|partition| owners[*partition as usize] == victim);
        assert!(lost.len() > 10 && spared.len() > 30);

        cluster.servers[victim].kill();
        let killed = Instant::now();
        let link = store.link(lost[0]).expect("known");
        within(RECOVERY, link.down()).await;
        let lost_one = spend(lost[0], NEVER, &["a"], 1);
        let error = timeout(Duration::ZERO, store.exchange(&lost_one)).await;
        let error = error.expect("at once").expect_err("nobody serves it");
        let port = cluster.servers[victim].port().expect("a port");
        assert!(
            error
                .to_string()
                .contains(&format!("node 127.0.0.1:{port}: no connection"))
        );

        // Until somebody else serves what was lost, the others are served as ever.
        let mut asked = 0;
        let (promoted, answer) = loop {
            for partition in spared.iter().skip(asked % 8).step_by(8) {
                let known = births[*partition as usize].since;
                let answer = store.exchange(&spend(*partition, known, &["b"], 1)).await;
                let answer = answer.expect("another's death is not its own");
                assert_eq!(answer.birth, births[*partition as usize]);
                assert_eq!(statuses(&answer), [Status::Spent]);
            }
            asked += 1;
            let known = births[lost[0] as usize].since;
            match store.exchange(&spend(lost[0], known, &["a"], 1)).await {
                Ok(answer) => break (killed.elapsed(), answer),
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
            assert!(killed.elapsed() < FAIL_OVER, "nobody was promoted");
        };
        assert!(asked > 1, "they were served meanwhile");
        assert!(answer.birth.since > births[lost[0] as usize].since);
        assert!(answer.birth.emptied > NEVER, "writes may be lost");
        assert_eq!(statuses(&answer), [Status::Denied]);
        for partition in &lost[1..] {
            let known = births[*partition as usize].since;
            let answer = store.exchange(&spend(*partition, known, &["a"], 1)).await;
            assert!(answer.expect("answers").birth.emptied > NEVER);
        }
        spent_at_last(&store, lost[0], answer.birth.since).await;
        let flow = killed.elapsed();
        println!("answers {promoted:.2?} after the kill, tokens {flow:.2?}, hold {HOLD:?}");

        let slot = names.slot(lost[0]);
        let other = cluster.wait_for_promotion(slot, victim).expect("somebody");
        assert_ne!(other, victim);
        cluster.restart(victim).expect("comes back as a replica");
    })
    .await;
}

/// Kills the primary that keeps the bucket, under load, and holds what the limiter admits against
/// the limit all the while.
#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_admits_no_more_than_the_limit() {
    on_each_cluster(async |cluster| {
        let store = Arc::new(connect_as("load", &cluster.url()).await);
        let mut tuning = Tuning::default();
        tuning.lease_max = LONGEST_LEASE;
        tuning.backoff_max = Duration::from_secs(1);
        let load = Load::tuned(&store, 2000, 1000, tuning);
        sleep(Duration::from_secs(1)).await;
        let before = load.admitted();
        assert!(before > 1500, "{before} admitted");
        let [(victim, slot)] = keepers(cluster, "load")[..] else {
            panic!("it is one key")
        };
        cluster.servers[victim].kill();
        let killed = Instant::now();
        let again = async {
            while load.admitted() < before + 2000 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(FAIL_OVER + LONGEST_LEASE, again).await;
        println!("tokens flow again after {:.2?}", killed.elapsed());
        load.ends_within_the_limit().await;
        cluster.wait_for_promotion(slot, victim).expect("somebody");
        cluster.restart(victim).expect("comes back as a replica");
    })
    .await;
}

/// A node that hangs keeps its connections: timeouts tell, and what is promoted.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_is_left_and_not_gone_back_to() {
    on_each_cluster(async |cluster| {
        let store = connect_as("frozen", &cluster.url()).await;
        let (partition, slot) = (40, Names::spread("frozen").slot(40));
        let before = store.exchange(&spend(partition, NEVER, &["a"], 1)).await;
        let before = before.expect("answers").birth;
        let victim = cluster.owner(slot).expect("served");
        cluster.servers[victim].pause().expect("freezes");
        let frozen = Instant::now();
        let there = loop {
            match store
                .exchange(&spend(partition, before.since, &["a"], 1))
                .await
            {
                Ok(answer) => break answer.birth,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
            assert!(frozen.elapsed() < FAIL_OVER, "nobody was promoted");
        };
        println!("answered again after {:.2?}", frozen.elapsed());
        assert!(there.since > before.since && there.emptied > NEVER);

        cluster.servers[victim].resume().expect("goes on");
        let resumed = Instant::now();
        while resumed.elapsed() < Duration::from_secs(1) {
            let answer = store
                .exchange(&spend(partition, there.since, &["a"], 1))
                .await;
            assert_eq!(answer.expect("answers").birth, there);
            sleep(Duration::from_millis(10)).await;
        }
        cluster.wait_until_well().expect("the old one follows");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_in_the_url_that_are_gone_or_mute_are_passed_over() {
    on_each_cluster(async |cluster| {
        let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mute = mute.local_addr().expect("an address").to_string();
        let gone = "127.0.0.1:1";
        let port = cluster.servers[4].port().expect("a port");
        let url = format!("redis+cluster://{gone},{mute},127.0.0.1:{port}");
        let store = connect_as("seeds", &url).await;
        for partition in 0..store.partitions() {
            let answer = store.exchange(&spend(partition, NEVER, &["a"], 1)).await;
            answer.expect("all are known from one");
        }
        let url = format!("redis+cluster://{gone},{mute}");
        let error = RedisStore::connect(patient(&url)).await;
        let error = error.expect_err("nobody to ask");
        assert!(matches!(error.fault, ConnectFault::Nodes { .. }), "{error}");
        for part in [gone, &mute, "timed out", "nothing listens"] {
            assert!(error.to_string().contains(part), "{error}");
        }

        // In the background, it says so until it is there.
        let lazy = RedisStore::lazy("seeds", patient(&url));
        let said = async {
            loop {
                let error = lazy.exchange(&spend(0, NEVER, &["a"], 1)).await;
                let error = error.expect_err("nobody to ask").to_string();
                if error.contains("nothing listens") {
                    break;
                }
                assert!(error.contains("first attempt"), "{error}");
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(RECOVERY * 2, said).await;
        let lazy = RedisStore::lazy("seeds", patient(&cluster.url()));
        let up = async {
            while lazy.exchange(&spend(0, NEVER, &["a"], 1)).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        within(RECOVERY * 2, up).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rules_are_enough_for_a_cluster_and_a_wrong_password_is_named() {
    on_each_cluster(async |cluster| {
        let everywhere = |arguments: &[&str]| {
            for server in &cluster.servers {
                let mut command = redis::cmd("ACL");
                server.run(command.arg(arguments)).expect("is done");
            }
        };
        let rules = acl_rules("rules");
        let mut user = vec!["SETUSER", "app", "reset", "on", ">secret"];
        user.extend(rules.split_whitespace());
        everywhere(&user);
        let as_user = |password: &str| {
            let url = cluster.url().replace("://", &format!("://app:{password}@"));
            patient(&url)
        };
        let error = RedisStore::connect_as("rules", as_user("wrong")).await;
        let error = error.expect_err("not let in").to_string();
        assert!(error.contains("WRONGPASS"), "{error}");

        let mut settings = as_user("secret");
        settings.cluster_interval = Duration::from_millis(50);
        settings.replicas_acknowledged = 1;
        settings.acknowledge_timeout = Duration::from_millis(75);
        let store = RedisStore::connect_as("rules", settings).await;
        let store = store.expect("connects");
        // Not even the name of our connections, which nobody misses.
        everywhere(&["LOG", "RESET"]);
        let (partition, slot) = (30, Names::spread("rules").slot(30));
        store
            .exchange(&spend_lasting(partition, NEVER, &["a"]))
            .await
            .expect("answers");
        let from = cluster.owner(slot).expect("served");
        let to = another_primary(cluster, from);
        cluster.begin_move(slot, to).expect("begins");
        while cluster.move_keys(slot, to, 10).expect("moves") > 0 {}
        let asked = store
            .exchange(&spend_lasting(partition, NEVER, &["a"]))
            .await;
        asked.expect("the other node answers");
        cluster.end_move(slot, to).expect("ends");
        cluster.move_slot(slot, from).expect("moves back");
        store.examine().await.expect("answers");
        for server in &cluster.servers {
            let denied = server.run(redis::cmd("ACL").arg("LOG"));
            let nothing = Value::Array(Vec::new());
            assert_eq!(denied.expect("answers"), nothing, "nothing was missing");
        }

        // Without the one that matters most.
        everywhere(&["SETUSER", "app", "-cluster|slots"]);
        let error = RedisStore::connect_as("rules", as_user("secret")).await;
        let error = error.expect_err("nobody may tell").to_string();
        assert!(error.contains("+cluster|slots"), "{error}");
        everywhere(&["DELUSER", "app"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limiter_works_on_a_cluster_in_either_mode() {
    on_each_cluster(async |cluster| {
        let store = Arc::new(connect_as("modes", &cluster.url()).await);
        for (mode, name) in [(Mode::Lease, "leased"), (Mode::Central, "central")] {
            let limiter = Limiter::builder()
                .limit(name, "1/hour burst 20")
                .mode(mode)
                .store(Arc::clone(&store))
                .build()
                .expect("builds");
            for key in ["a", "b", "c", "d", "e", "f"] {
                let mut allowed = 0;
                for _ in 0..30 {
                    allowed += u32::from(limiter.acquire(key, 1).await.is_allowed());
                }
                assert_eq!(allowed, 20, "{mode:?}");
            }
            limiter.shutdown().await.expect("gives back");
        }
        assert!(keepers(cluster, "modes").len() > 1, "all in one place");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_a_cluster_is_that_of_its_worst_node() {
    on_each_cluster(async |cluster| {
        let store = connect_as("health", &cluster.url()).await;
        assert_eq!(store.healths().len(), 3);
        assert_eq!(store.health().expect("asked").eviction, None);
        let victim = cluster.owner(0).expect("served");
        let config = |values: &[&str]| {
            let mut command = redis::cmd("CONFIG");
            let server = &cluster.servers[victim];
            server.run(command.arg("SET").arg(values)).expect("is set");
        };
        config(&["maxmemory-policy", "allkeys-lru", "maxmemory", "100mb"]);
        let worst = store.examine().await.expect("answers");
        let eviction = worst.eviction.as_ref().expect("it evicts");
        assert_eq!(eviction.policy, "allkeys-lru");
        assert_eq!(store.health(), Some(worst));
        config(&["maxmemory-policy", "noeviction", "maxmemory", "0"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_and_a_server_by_itself_are_told_apart() {
    on_each_cluster(async |cluster| {
        for server in &cluster.servers {
            let error = RedisStore::connect(patient(&server.url())).await;
            let error = error.expect_err("a part is not the whole").to_string();
            assert!(error.contains("write redis+cluster://"), "{error}");
        }
    })
    .await;
    on_each_server(ServerOptions::default(), async |server| {
        let url = server.url().replace("redis://", "redis+cluster://");
        let error = RedisStore::connect(patient(&url)).await;
        let error = error.expect_err("there is one").to_string();
        assert!(error.contains("cluster support disabled"), "{error}");
        assert!(error.contains("write redis://"), "{error}");
    })
    .await;
}

/// Runs `test` on the cluster of each kind found here, beginning with another than the test before:
/// two tests at a time need not wait for each other.
async fn on_each_cluster(test: impl AsyncFn(&mut LocalCluster)) {
    // Never dropped: their watchdogs end them with the process.
    static CLUSTERS: LazyLock<Vec<Mutex<LocalCluster>>> = LazyLock::new(|| {
        let start = |binary: &Binary| {
            let started = LocalCluster::start(binary, 3, true);
            Mutex::new(started.expect("starts"))
        };
        let binaries = LocalServer::find_or_skip();
        std::thread::scope(|scope| {
            let starts = binaries
                .iter()
                .map(|binary| scope.spawn(move || start(binary)));
            let starts: Vec<_> = starts.collect();
            let started = starts
                .into_iter()
                .map(|start| start.join().expect("starts"));
            started.collect()
        })
    });
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let turn = TURN.fetch_add(1, Relaxed);
    for place in 0..CLUSTERS.len() {
        let mut cluster = CLUSTERS[(place + turn) % CLUSTERS.len()].lock().await;
        println!("on {}", cluster.servers[0].binary());
        test(&mut cluster).await;
    }
}

/// Timeouts for a busy machine: here it matters where an exchange goes, not how fast it is.
fn patient(url: &str) -> Settings {
    let mut settings = settings(url).expect("a URL");
    settings.connect_timeout = Duration::from_millis(750);
    settings.response_timeout = Duration::from_secs(1);
    settings
}

async fn connect_as(prefix: &str, url: &str) -> RedisStore {
    let settings = patient(url);
    let store = RedisStore::connect_as(prefix, settings).await;
    store.expect("connects")
}

/// A store that nobody tells what has changed but the nodes that it asks for keys.
async fn unassisted(prefix: &str, cluster: &LocalCluster) -> RedisStore {
    let mut settings = patient(&cluster.url());
    settings.cluster_interval = Duration::from_secs(3600);
    let store = RedisStore::connect_as(prefix, settings).await;
    store.expect("connects")
}

/// A primary, but not that one.
fn another_primary(cluster: &LocalCluster, than: usize) -> usize {
    let mut slots = [0, 8000, 16383].into_iter();
    let other = slots.find_map(|slot| cluster.owner(slot).filter(|owner| *owner != than));
    other.expect("there are three")
}

/// The slots in which there are keys under `prefix`, and who serves them.
fn keepers(cluster: &LocalCluster, prefix: &str) -> Vec<(usize, u16)> {
    let names = Names::spread(prefix);
    let kept = |partition: u32| {
        let owner = cluster.owner(names.slot(partition)).expect("served");
        let mut exists = redis::cmd("EXISTS");
        let there = cluster.servers[owner].run(exists.arg(names.marker(partition)));
        let there = there.expect("it is served there") == Value::Int(1);
        there.then_some((owner, names.slot(partition)))
    };
    (0..names.partitions()).filter_map(kept).collect()
}

/// As central mode asks, of all subjects at once. The limit is a thousand tokens, in a second: what
/// one token was spent of is forgotten a millisecond later.
fn spend(partition: u32, known_birth: StoreTime, subjects: &[&str], cost: u64) -> Batch {
    spend_under("1000/s burst 1000", partition, known_birth, subjects, cost)
}

/// A spend of one token from each of the buckets, which live for a minute.
fn spend_lasting(partition: u32, known_birth: StoreTime, subjects: &[&str]) -> Batch {
    spend_under("1/min burst 1000", partition, known_birth, subjects, 1)
}

fn spend_under(
    limit: &str,
    partition: u32,
    known_birth: StoreTime,
    subjects: &[&str],
    cost: u64,
) -> Batch {
    let call = |subject: &&str| {
        let key = (LimitId(0), *subject).into();
        Call::new(key, Request::Spend { cost })
    };
    let calls = subjects.iter().map(call);
    let limit = NamedLimit {
        name: "api".into(),
        limit: limit.parse().expect("a limit"),
        policy: FailurePolicy::Closed,
    };
    Batch {
        replica: 1,
        partition,
        known_birth,
        quarantine: Micros(u64::try_from(HOLD.as_micros()).expect("short")),
        enroll: None,
        limits: [limit].into(),
        calls: calls.collect(),
        sent: LeaseInstant::ORIGIN,
    }
}

fn statuses(answer: &Answer) -> Vec<Status> {
    answer.replies.iter().map(|reply| reply.status).collect()
}

/// Waits until a token can be spent.
async fn spent_at_last(store: &RedisStore, partition: u32, known: StoreTime) -> Duration {
    let began = Instant::now();
    loop {
        let answer = store.exchange(&spend(partition, known, &["a"], 1)).await;
        if statuses(&answer.expect("answers")) == [Status::Spent] {
            return began.elapsed();
        }
        assert!(began.elapsed() < HOLD + RECOVERY, "no tokens");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Expects an error that says `code`, and no panic.
async fn refused(store: &RedisStore, batch: &Batch, code: &str) {
    let error: StoreError = store.exchange(batch).await.expect_err("not now");
    assert!(error.to_string().contains(code), "{error}");
}

const NEVER: StoreTime = StoreTime::ZERO;
/// Of batches made by hand.
const HOLD: Duration = Duration::from_millis(300);
/// Of a limiter: shorter than by default, so that there is less to wait for.
const LONGEST_LEASE: Duration = Duration::from_secs(2);
/// A second to notice, one or two to elect, more on a busy machine.
const FAIL_OVER: Duration = Duration::from_secs(20);
