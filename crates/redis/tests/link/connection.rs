//! One server, and each way in which it goes away.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use leasehold_redis::{
    ConnectFault, DownReason, Executed, Greeting, Link, LinkError, Script, Stage, Wire,
};
use leasehold_testbed::ServerOptions;
use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_each_on_its_own() {
    on_each_server(ServerOptions::default(), async |server| {
        let link = connect(&server.url()).await.expect("connects");
        assert_eq!(set(&link).await, Ok(Value::Okay));

        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg("key");
        pipeline.cmd("LPUSH").arg("key").arg("x");
        pipeline.cmd("PING");
        let answers = link.pipeline(&pipeline).await.expect("answers");
        assert_eq!(answers[0], Ok(Value::BulkString(b"value".to_vec())));
        let refused = answers[1].as_ref().expect_err("it is no list");
        assert_eq!(refused.code(), Some("WRONGTYPE"));
        assert_eq!(answers[2], Ok(Value::SimpleString("PONG".to_owned())));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_and_a_database_work_too() {
    let options = ServerOptions {
        unix_socket: true,
        password: Some("a/b@c&d".to_owned()),
        ..ServerOptions::default()
    };
    on_each_server(options, async |server| {
        let link = connect(&format!("{}&db=3", server.url())).await;
        let link = link.expect("connects");
        assert_eq!(set(&link).await, Ok(Value::Okay));
        let keyspace = server.run(redis::cmd("INFO").arg("keyspace"));
        let keyspace = keyspace.expect("answers");
        assert!(format!("{keyspace:?}").contains("db3:"), "{keyspace:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_wrong_or_missing_is_named_at_once() {
    let options = ServerOptions {
        password: Some("right/wrong".to_owned()),
        ..ServerOptions::default()
    };
    on_each_server(options, async |server| {
        connect(&server.url())
            .await
            .expect("the right one is let in");

        let place = server
            .url()
            .split_once('@')
            .expect("it has a password")
            .1
            .to_owned();
        let wrong = format!("redis://:right@{place}");
        assert_eq!(password_refused(&wrong).await, "WRONGPASS");
        assert_eq!(
            password_refused(&format!("redis://{place}")).await,
            "NOAUTH"
        );
    })
    .await;
}

/// Redis has no login by name alone, and answers a password that it does not want with an error.
#[tokio::test(flavor = "multi_thread")]
async fn each_login_is_that_of_the_url_or_refused_with_the_mend() {
    on_each_server(ServerOptions::default(), async |server| {
        let place = format!("127.0.0.1:{}", server.port().expect("a port"));
        let at = |credentials: &str| format!("redis://{credentials}@{place}");
        let acl = |rules: &[&str]| {
            let mut command = redis::cmd("ACL");
            server
                .run(command.arg("SETUSER").arg(rules))
                .expect("is set");
        };
        acl(&["alice", "on", ">right", "~*", "+@all"]);
        acl(&["open", "on", "nopass", "~*", "+@all"]);
        let me = async |url: &str| {
            let link = connect(url).await.expect("connects");
            let me = link.query(redis::cmd("ACL").arg("WHOAMI")).await;
            match me.expect("answers") {
                Value::BulkString(name) => String::from_utf8(name).expect("a name"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(me(&format!("redis://{place}")).await, "default");
        assert_eq!(me(&at("alice:right")).await, "alice");
        assert_eq!(me(&at("%61lice:righ%74")).await, "alice");
        assert_eq!(me(&at("open:")).await, "open");

        let refused = async |url: &str| {
            let error = connect(url).await.expect_err("not let in").to_string();
            assert!(!error.contains("wrong/right"), "{error}");
            error
        };
        let unwanted = refused(&at(":wrong%2Fright")).await;
        assert!(
            unwanted.contains("no password for its default user"),
            "{unwanted}"
        );
        let wrong = refused(&at("alice:wrong%2Fright")).await;
        assert!(wrong.contains("user or password are wrong"), "{wrong}");
        let none = refused(&at("alice:")).await;
        assert!(none.contains("user or password are wrong"), "{none}");

        acl(&["default", "resetpass", ">wrong/right"]);
        let missing = refused(&format!("redis://{place}")).await;
        assert!(missing.contains("redis://:password@host"), "{missing}");
    })
    .await;
}

/// A server that does not know AUTH, or knows nothing at all, repeats what it was sent.
#[tokio::test]
async fn a_password_that_is_repeated_is_not_shown() {
    for says in [
        &b"-ERR unknown command 'AUTH', with args beginning with: 'secret' \r\n+OK\r\n\
           +PONG\r\n"[..],
        b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n+OK\r\n+PONG\r\n",
    ] {
        let url = speaks(says).await.replace("://", "://:secret@");
        let error = connect(&url).await.expect_err("no Redis");
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}

async fn password_refused(url: &str) -> String {
    let error = connect(url).await.expect_err("not let in");
    let shown = error.to_string();
    assert!(!shown.contains("right"), "{shown}");
    match error.fault {
        ConnectFault::Password { code, .. } => code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_place_where_nothing_listens_is_named_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    for url in [
        format!("redis://{address}"),
        "redis+unix:///nowhere.sock".to_owned(),
    ] {
        let error = connect(&url).await.expect_err("nothing listens");
        assert_eq!(error.fault, ConnectFault::Refused);
        assert!(error.to_string().contains(&url), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_redis_is_told_apart() {
    let url = speaks(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let fault = connect(&url).await.expect_err("no Redis").fault;
    assert!(matches!(fault, ConnectFault::NotRedis { .. }), "{fault}");
}

#[tokio::test]
async fn an_attempt_to_connect_ends_in_time_wherever_it_hangs() {
    struct Dawdles;

    impl Greeting for Dawdles {
        async fn greet(&self, _: &Wire) -> Result<(), LinkError> {
            std::future::pending().await
        }
    }

    let after = Duration::from_millis(100);
    for (answers, hangs) in [
        (&b""[..], Stage::Handshake),
        (b"+OK\r\n+PONG\r\n", Stage::Greeting),
    ] {
        let mut settings = settings(&speaks(answers).await).expect("a URL");
        settings.connect_timeout = after;
        settings.response_timeout = Duration::from_secs(10);
        let connecting = Link::connect(settings, Dawdles);
        let error = within(Duration::from_secs(1), connecting).await;
        let fault = error.expect_err("it hangs").fault;
        assert_eq!(
            fault,
            ConnectFault::TimedOut {
                after,
                stage: hangs
            }
        );
    }
}

/// A server that says `answers` to its first client, whatever the question, and then nothing.
async fn speaks(answers: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.read_u8().await.expect("a request");
        stream.write_all(answers).await.expect("sends");
        std::future::pending::<()>().await;
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_requests_fail_at_once_and_the_link_comes_back() {
    on_each_server(ServerOptions::default(), async |mut server| {
        let link = connect(&server.url()).await.expect("connects");
        server.kill();
        // No request is needed to find out.
        within(Duration::from_secs(1), link.down()).await;

        // Long enough for attempts to fail, back off and be under way while we ask.
        let until = Instant::now() + Duration::from_millis(700);
        let mut asked = 0;
        while Instant::now() < until {
            let error = fails_at_once(&link).await;
            assert!(matches!(error, LinkError::Down { .. }), "{error}");
            assert_eq!(error.executed(), Executed::No);
            asked += 1;
            tokio::task::yield_now().await;
        }
        assert!(asked > 100, "only {asked} requests");
        let error = set(&link).await.expect_err("there is no server");
        let long_enough = Duration::from_millis(600);
        assert!(
            matches!(
                &error,
                LinkError::Down { down_for, reason: DownReason::Unconnected(error) }
                    if *down_for > long_enough && error.fault == ConnectFault::Refused
            ),
            "says since when and why: {error}"
        );

        server.restart().expect("restarts");
        within(RECOVERY, link.up()).await;
        assert_eq!(set(&link).await, Ok(Value::Okay));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_given_up_after_three_timeouts_in_a_row() {
    on_each_server(ServerOptions::default(), async |server| {
        let link = Arc::new(connect(&server.url()).await.expect("connects"));
        server.pause().expect("freezes");

        // A wave of timeouts is one.
        let started = Instant::now();
        let wave: Vec<_> = (0..40)
            .map(|_| {
                let link = Arc::clone(&link);
                tokio::spawn(async move { set(&link).await })
            })
            .collect();
        for request in wave {
            let error = request.await.expect("no panic").expect_err("frozen");
            assert!(matches!(error, LinkError::TimedOut { .. }), "{error}");
            assert_eq!(error.executed(), Executed::Maybe);
        }
        let took = started.elapsed();
        assert!((TIMEOUT..TIMEOUT * 4).contains(&took), "{took:?}");

        // Two more make three.
        for _ in 0..2 {
            assert!(link.wire().is_ok(), "given up too early");
            let error = set(&link).await.expect_err("frozen");
            assert!(matches!(error, LinkError::TimedOut { .. }), "{error}");
        }
        within(Duration::from_secs(1), link.down()).await;
        let error = fails_at_once(&link).await;
        assert!(matches!(error, LinkError::Down { .. }), "{error}");

        server.resume().expect("goes on");
        within(RECOVERY, link.up()).await;
        assert_eq!(set(&link).await, Ok(Value::Okay));
    })
    .await;
}

/// A case from which `redis::aio::ConnectionManager` never recovers: the connection is open and
/// dead, while a new one would work at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_that_stays_open_is_replaced() {
    on_each_server(ServerOptions::default(), async |server| {
        let proxy = Proxy::before(&server).await;
        let link = connect(&proxy.url).await.expect("connects");
        assert_eq!(set(&link).await, Ok(Value::Okay));
        proxy.swallow();
        let heals = async {
            while let Err(error) = set(&link).await {
                if matches!(error, LinkError::Down { .. }) {
                    link.up().await;
                }
            }
        };
        within(TIMEOUT * 3 + RECOVERY, heals).await;
    })
    .await;
}

/// On one thread, so that the supervisor has no chance to run before the request returns.
#[tokio::test]
async fn a_primary_that_became_a_replica_is_left_and_found_again() {
    on_each_server(ServerOptions::default(), async |server| {
        let role = |host: &str, port: &str| {
            let mut command = redis::cmd("REPLICAOF");
            server
                .run(command.arg(host).arg(port))
                .expect("changes its role");
        };
        let link = connect(&server.url()).await.expect("connects");
        role("127.0.0.1", "1");
        let error = set(&link).await.expect_err("read-only");
        assert_eq!(error.code(), Some("READONLY"));
        assert_eq!(error.executed(), Executed::No);
        link.wire().expect_err("left at once");
        let error = set(&link).await.expect_err("left");
        assert!(
            matches!(&error, LinkError::Down { reason: DownReason::Useless { code, .. }, .. }
                if code == "READONLY"),
            "{error}"
        );
        role("NO", "ONE");
        within(RECOVERY, link.up()).await;
        assert_eq!(set(&link).await, Ok(Value::Okay));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_the_server_forgot_is_sent_again() {
    on_each_server(ServerOptions::default(), async |server| {
        let link = connect(&server.url()).await.expect("connects");
        let script = Script::new("return {KEYS[1], ARGV[1]}");
        let run = async || {
            let before = script.round_trips();
            let binary: &[u8] = b"\0\r\n\xff";
            let answer = script.run(&link, &["key"], &[binary]).await;
            let both = [&b"key"[..], binary].map(|bytes| Value::BulkString(bytes.to_vec()));
            assert_eq!(answer, Ok(Value::Array(both.to_vec())));
            script.round_trips() - before
        };
        assert_eq!(run().await, 3, "ask, load, ask");
        assert_eq!(run().await, 1);
        server
            .run(redis::cmd("SCRIPT").arg("FLUSH"))
            .expect("forgets");
        assert_eq!(run().await, 3);

        script.load(&link.wire().expect("up")).await.expect("loads");
        assert_eq!(run().await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_is_greeted_before_it_is_used() {
    struct Loads(Script, AtomicUsize);

    impl Greeting for Loads {
        async fn greet(&self, wire: &Wire) -> Result<(), LinkError> {
            self.1.fetch_add(1, Relaxed);
            self.0.load(wire).await
        }
    }

    on_each_server(ServerOptions::default(), async |mut server| {
        let loads = Arc::new(Loads(Script::new("return 1"), AtomicUsize::new(0)));
        let link = Link::connect(settings(&server.url()).expect("a URL"), Arc::clone(&loads)).await;
        let link = link.expect("connects");
        for connections in 1..=2 {
            assert_eq!(loads.1.load(Relaxed), connections);
            let before = loads.0.round_trips();
            let none: [&str; 0] = [];
            assert_eq!(loads.0.run(&link, &none, &none).await, Ok(Value::Int(1)));
            assert_eq!(loads.0.round_trips() - before, 1, "it was loaded");
            if connections == 1 {
                // As when a replica set fails over: connections are cut, memory is empty.
                server.kill();
                within(Duration::from_secs(1), link.down()).await;
                server.restart().expect("restarts");
                within(RECOVERY, link.up()).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_greeting_failed_is_not_up() {
    struct Declines;

    impl Greeting for Declines {
        async fn greet(&self, wire: &Wire) -> Result<(), LinkError> {
            let mut unknown = redis::cmd("SCRIPT");
            wire.query(unknown.arg("UNLOAD")).await.map(drop)
        }
    }

    on_each_server(ServerOptions::default(), async |server| {
        let error = Link::connect(settings(&server.url()).expect("a URL"), Declines).await;
        let error = error.expect_err("declined");
        assert!(matches!(error.fault, ConnectFault::Greeting(_)), "{error}");

        let link = Link::lazy(settings(&server.url()).expect("a URL"), Declines);
        let greeted = async {
            loop {
                match link.wire() {
                    Err(LinkError::Down {
                        reason: DownReason::Unconnected(error),
                        ..
                    }) => {
                        break error.fault;
                    }
                    Err(_) => tokio::task::yield_now().await,
                    Ok(_) => panic!("up without a greeting"),
                }
            }
        };
        let fault = within(Duration::from_secs(1), greeted).await;
        assert!(matches!(fault, ConnectFault::Greeting(_)), "{fault}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lazy_link_comes_up_once_its_server_does() {
    on_each_server(ServerOptions::default(), async |mut server| {
        server.kill();
        let link = Link::lazy(settings(&server.url()).expect("a URL"), ());
        let error = set(&link).await.expect_err("there is no server");
        assert!(matches!(error, LinkError::Down { .. }), "{error}");
        server.restart().expect("starts");
        within(RECOVERY, link.up()).await;
        assert_eq!(set(&link).await, Ok(Value::Okay));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_link_hangs_up_and_stays_away() {
    on_each_server(ServerOptions::default(), async |server| {
        let proxy = Proxy::before(&server).await;
        let link = connect(&proxy.url).await.expect("connects");
        drop(link);
        let mut open = proxy.open.clone();
        let gone = open.wait_for(|open| *open == 0);
        within(Duration::from_secs(1), gone)
            .await
            .expect("the proxy runs");
    })
    .await;
}
