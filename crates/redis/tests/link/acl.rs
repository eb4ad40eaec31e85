//! A user who may do what we need and no more, and what is said when he may not even do that.

use std::sync::Arc;

use leasehold::{Limiter, Mode};
use leasehold_redis::{ConnectFault, DownReason, LinkError, RedisStore, Settings, acl_rules};
use leasehold_testbed::{LocalServer, ServerOptions};
use redis::Value;
use tokio::time::{Instant, sleep};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rules_are_enough_for_everything() {
    let rules = acl_rules("leasehold");
    for (place, text) in [
        (
            "OPERATING.md",
            include_str!("../../../../docs/OPERATING.md"),
        ),
        ("settings.rs", include_str!("../../src/settings.rs")),
    ] {
        assert!(text.contains(&rules), "{place} does not say: {rules}");
    }
    on_each_server(ServerOptions::default(), async |server| {
        let _replica = replica_of(&server);
        become_user(&server, &rules);
        let mut settings = as_user(&server, "secret", "/2");
        settings.replicas_acknowledged = 1;
        wait_for_replica(&server);
        let store = RedisStore::connect(settings).await.expect("connects");
        let health = store.health().expect("it was asked");
        assert_eq!(health.role.as_deref(), Some("master"));
        assert_eq!(health.replicas, Some(1));

        // Leases that are taken, renewed and given back; denials; central decisions.
        server
            .run(redis::cmd("ACL").arg("LOG").arg("RESET"))
            .expect("forgets");
        let store = Arc::new(store);
        for mode in [Mode::Lease, Mode::Central] {
            let limiter = Limiter::builder()
                .limit("api", "2000/s burst 200")
                .mode(mode)
                .store(Arc::clone(&store))
                .build()
                .expect("builds");
            let some = async {
                let mut allowed = 0;
                while allowed < 20 {
                    allowed += u32::from(limiter.acquire("a", 1).await.is_allowed());
                    sleep(Duration::from_millis(1)).await;
                }
            };
            within(RECOVERY * 2, some).await;
            limiter.shutdown().await.expect("gives back");
        }
        let denied = server.run(redis::cmd("ACL").arg("LOG")).expect("answers");
        assert_eq!(denied, Value::Array(Vec::new()), "nothing was missing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_is_named_with_the_line_that_mends_it() {
    on_each_server(ServerOptions::default(), async |server| {
        let rules = acl_rules("leasehold");
        for (missing, mend) in [
            ("+script|load", "+script|load "),
            ("+evalsha", "+evalsha "),
            ("+info", "+info "),
            ("~{leasehold:*", "~{PREFIX:* "),
        ] {
            become_user(&server, &rules.replace(missing, ""));
            let error = RedisStore::connect(as_user(&server, "secret", "")).await;
            let error = error.expect_err(missing).to_string();
            assert!(error.contains("NOPERM"), "{missing}: {error}");
            assert!(error.contains(&format!(" {mend}")), "{missing}: {error}");
            assert!(error.contains("ACL SETUSER"), "{missing}: {error}");
        }
        // What only a script does.
        become_user(&server, &rules.replace("+time", ""));
        let store = RedisStore::connect(as_user(&server, "secret", "")).await;
        let store = store.expect("the script is not run yet");
        let script = leasehold_redis::Script::new("return redis.call('TIME')");
        let none: [&str; 0] = [];
        let error = script.run(&link_of(&store), &none, &none).await;
        let error = error.expect_err("not allowed");
        assert_eq!(error.code(), Some("NOPERM"));
        // Redis 7.0 does not say which it was.
        let shown = error.to_string();
        assert!(shown.contains("+time "), "{shown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_is_a_state_that_ends_when_it_is_right_again() {
    on_each_server(ServerOptions::default(), async |server| {
        become_user(&server, &acl_rules("leasehold"));
        let mut settings = as_user(&server, "secret", "");
        settings.backoff_min = Duration::from_millis(50);
        settings.backoff_max = Duration::from_millis(400);
        let store = RedisStore::connect(settings).await.expect("connects");
        let acl = |rule: &[&str]| {
            let mut command = redis::cmd("ACL");
            server
                .run(command.arg("SETUSER").arg("app").arg(rule))
                .expect("changes");
        };
        acl(&["resetpass", ">another"]);
        server
            .run(redis::cmd("CLIENT").arg("KILL").arg("USER").arg("app"))
            .expect("kills");
        within(Duration::from_secs(1), link_of(&store).down()).await;

        let before = connections(&server);
        let until = Instant::now() + Duration::from_secs(2);
        let mut named = false;
        while Instant::now() < until {
            let error = link_of(&store).wire().expect_err("not let in");
            if let LinkError::Down {
                reason: DownReason::Unconnected(error),
                ..
            } = &error
                && let ConnectFault::Password { code, .. } = &error.fault
            {
                named |= code == "WRONGPASS";
                assert!(!error.to_string().contains("secret"), "{error}");
            }
            sleep(Duration::from_millis(10)).await;
        }
        assert!(named, "the state says what is wrong");
        // Two of them are ours. Half of at most 400 ms apart, on average, after the first few.
        let attempts = connections(&server) - before;
        assert!((3..40).contains(&attempts), "{attempts} attempts in 2 s");

        acl(&[">secret"]);
        within(RECOVERY, link_of(&store).up()).await;
    })
    .await;
}

fn become_user(server: &LocalServer, rules: &str) {
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg("app").arg("reset");
    command.arg("on").arg(">secret");
    for rule in rules.split_whitespace() {
        command.arg(rule);
    }
    server.run(&command).expect("becomes one");
}

fn as_user(server: &LocalServer, password: &str, database: &str) -> Settings {
    let port = server.port().expect("a port");
    settings(&format!(
        "redis://app:{password}@127.0.0.1:{port}{database}"
    ))
    .expect("a URL")
}

fn connections(server: &LocalServer) -> u64 {
    let info = info(server, "stats");
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    line.expect("a count").trim().parse().expect("a number")
}
