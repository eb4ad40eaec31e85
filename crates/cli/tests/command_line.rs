//! Tests of what all commands have in common: exit codes, Ctrl-C, colours, and the files that the
//! program brings along.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use std::{env, fs, process, thread};

use leasehold::Limiter;
use leasehold_redis::RedisStore;
use leasehold_testbed::LocalServer;
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_leasehold");

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM).args(arguments).output();
    output.expect("the program was built")
}

fn code(arguments: &[&str]) -> Option<i32> {
    run(arguments).status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file of this test, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &str) -> Self {
        let name = format!("leasehold-{}-{name}", process::id());
        let file = env::temp_dir().join(name);
        fs::write(&file, content).expect("a temporary file can be written");
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("its name is plain")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A script that tells "broken" from "could not be tried" must not be told the same by both.
#[test]
fn exit_codes_tell_what_was_broken_from_what_could_not_be_done() {
    let head = "start_ns,end_ns,replica,key,cost\n";
    let line = |at: u64| format!("{at},{},0,0,1\n", at + 5);
    let within = Scratch::new("within.csv", &format!("{head}{}", line(0)));
    let beyond: String = (0..5).map(line).collect();
    let beyond = Scratch::new("beyond.csv", &format!("{head}{beyond}"));
    let judge = |file| code(&["judge", file, "--rate", "1/s", "--burst", "2"]);
    assert_eq!(judge(within.path()), Some(0));
    assert_eq!(judge(beyond.path()), Some(1));
    for (what, arguments) in [
        ("no file", "judge missing.csv --rate 1/s"),
        ("no limit", "judge missing.csv --rate 1000/sx"),
        ("no command", "jugde"),
        ("no scenario", "simulate nowhere.toml"),
        ("no server", "demo --redis redis://127.0.0.1:1"),
        ("no URL", "demo --redis redis://alice@127.0.0.1"),
        ("no place to write", "demo --admissions /nowhere/at/all.csv"),
        ("no settings", "validate --settings nowhere.toml"),
        ("no such fault", "faults --only meteor"),
        ("no trace", "replay nowhere.csv --rate 1/s"),
        (
            "nothing offered",
            "tune --rate 1/s --replicas 2 --offered 0/s",
        ),
        ("no folder", "swarm --seeds 1 --write /dev/null/found"),
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        assert_eq!(code(&arguments), Some(2), "{what}: {arguments:?}");
    }
}

#[test]
fn a_message_for_people_has_no_raw_nanoseconds() {
    let line = |nth: u64| format!("{},9774526895300,0,0,1\n", 9_774_526_895_289 + nth);
    let lines: String = (0..5).map(line).collect();
    let head = "start_ns,end_ns,replica,key,cost\n";
    let file = Scratch::new("people.csv", &format!("{head}{lines}"));
    let output = run(&["judge", file.path(), "--rate", "1/s", "--burst", "2"]);
    let said = text(&output.stdout);
    assert!(
        said.contains("5 tokens within 11 ns, 0 s after the first admission"),
        "{said}"
    );
}

#[test]
fn a_demo_that_cannot_begin_leaves_no_file_behind_and_spoils_none() {
    let new = env::temp_dir().join(format!("leasehold-{}-new.csv", process::id()));
    let old = Scratch::new("old.csv", "precious");
    for file in [new.to_str().expect("plain"), old.path()] {
        let nowhere = "redis://127.0.0.1:1";
        assert_eq!(
            code(&["demo", "--redis", nowhere, "--admissions", file]),
            Some(2)
        );
    }
    assert!(!new.exists());
    assert_eq!(fs::read_to_string(&old.0).expect("it is there"), "precious");
}

#[test]
fn scenarios_are_built_in_and_are_found_without_the_checkout() {
    let elsewhere = env::temp_dir();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.current_dir(&elsewhere).args(arguments);
        command.output().expect("the program was built")
    };
    let list = text(&run(&["simulate", "--list"]).stdout);
    assert!(
        list.contains("behaviour/rivals") && list.contains("seeds/gateway-50k"),
        "{list}"
    );
    let one = run(&[
        "simulate",
        "behaviour/skew",
        "--seeds",
        "1",
        "--no-rivals",
        "--quiet",
    ]);
    let (said, notes) = (text(&one.stdout), text(&one.stderr));
    assert!(matches!(one.status.code(), Some(0 | 1)), "{notes}");
    assert!(said.starts_with("skew: "), "{said}");
    assert_eq!(notes, "", "quiet is quiet");
    let slip = run(&["simulate", "behaviour/rivls"]);
    let said = text(&slip.stderr);
    assert!(said.contains("did you mean behaviour/rivals?"), "{said}");
}

#[test]
fn shells_get_completions_and_people_a_manual() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&run(&["completions", shell]).stdout);
        assert!(
            script.contains("leasehold") && script.contains("simulate"),
            "{shell}"
        );
    }
    let page = text(&run(&["man"]).stdout);
    for word in [".TH", "leasehold", "max\\-overshoot", "130", "no\\-rivals"] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("demo\\-replica"), "it is nobody's business");
}

#[test]
fn colours_are_there_when_they_are_wanted() {
    let colours = |arguments: &[&str], no_color: bool| {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE");
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let output = command.output().expect("the program was built");
        text(&output.stderr).contains('\u{1b}')
    };
    let judge = ["judge", "missing.csv", "--rate", "1/s"];
    assert!(!colours(&judge, false), "it is no terminal");
    assert!(colours(
        &[&judge[..], &["--color", "always"]].concat(),
        true
    ));
    assert!(!colours(&[&judge[..], &["--color=never"]].concat(), false));
    assert!(
        colours(&["jugde", "--color=always"], false),
        "clap's own messages too"
    );
}

/// A Ctrl-C that is not heeded, or is reported as success, spoils every script around the command.
#[test]
#[cfg(target_os = "linux")]
fn an_interrupt_ends_each_long_command_promptly_and_says_so() {
    let mut lines = vec![
        ("demo --compare --duration 100s", "INTERRUPTED"),
        (
            "simulate behaviour/rivals --seeds 10000",
            "interrupted after",
        ),
        (
            "sweep behaviour/rivals --vary replicas=1,2 --seeds 10000",
            "interrupted after",
        ),
        (
            "tune --rate 1000/s --replicas 50 --offered 3000/s",
            "interrupted after",
        ),
        ("swarm --seeds 10000000", "interrupted after"),
    ];
    let server = LocalServer::find_or_skip().into_iter().next();
    if server.is_some() {
        lines.push(("validate", "interrupted"));
        lines.push(("faults", "interrupted"));
    }
    for (line, says) in lines {
        let mut command = Command::new(PROGRAM);
        if let Some(server) = &server {
            command.env("LEASEHOLD_REDIS_SERVER", &server.path);
        }
        command.args(line.split(' '));
        let mut child = start(&mut command);
        thread_sleep(Duration::from_secs(1));
        signal(&child, Signal::INT);
        let (code, said) = ended(&mut child, line);
        assert_eq!(code, Some(130), "{line}: {said}");
        assert!(said.contains(says), "{line}: {said}");
        assert!(!said.contains("leased : central"), "{line}: {said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupt_in_the_second_half_of_a_comparison_compares_nothing() {
    let mut command = Command::new(PROGRAM);
    let mut child = start(command.args(["demo", "--compare", "--duration", "3s"]));
    thread_sleep(Duration::from_millis(4500));
    signal(&child, Signal::TERM);
    let (code, said) = ended(&mut child, "demo --compare");
    // On a machine that is slow enough it is still the first half.
    assert_eq!(code, Some(143), "{said}");
    assert!(
        said.contains("INTERRUPTED after") && !said.contains("leased : central"),
        "{said}"
    );
}

#[test]
fn a_key_that_is_reset_has_its_burst_again() {
    for binary in LocalServer::find_or_skip() {
        let server = start_server(&binary);
        let url = server.url();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let limiter = || async {
            let store = RedisStore::connect_as("shop", url.as_str()).await;
            let limiter = Limiter::builder().limit("login", "9/day");
            limiter
                .store(store.expect("it is there"))
                .build()
                .expect("it can be")
        };
        let first = runtime.block_on(async {
            let limiter = limiter().await;
            let mut allowed = 0;
            while limiter.acquire("alice", 1).await.is_allowed() {
                allowed += 1;
            }
            limiter.shutdown().await.expect("it answers");
            allowed
        });
        assert_eq!(first, 9);
        let reset = |limit, key| {
            run(&[
                "reset", "--redis", &url, "--prefix", "shop", "--limit", limit, key,
            ])
        };
        // Another limit's key of the same name is another key.
        assert_eq!(reset("api", "alice").status.code(), Some(0));
        runtime.block_on(async {
            assert!(!limiter().await.acquire("alice", 1).await.is_allowed());
        });
        let done = reset("login", "alice");
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        assert_eq!(text(&done.stdout), "reset: alice under the limit login\n");
        runtime.block_on(async {
            let limiter = limiter().await;
            assert!(limiter.acquire("alice", 9).await.is_allowed());
            assert!(!limiter.acquire("alice", 1).await.is_allowed());
        });
        drop(server);
        let failed = reset("login", "alice");
        assert_eq!(failed.status.code(), Some(2));
    }
}

/// Another program puts a list where a key has its bucket. All other keys are admitted as if it had
/// not, under each policy, and so is the key itself under `open`.
#[test]
fn a_key_that_cannot_be_read_concerns_no_other() {
    let load = "--replicas 2 --keys 6 --zipf 0 --rate 1000/s --offered 900/s --duration 2s";
    let file = Scratch::new("admissions.csv", "");
    let demo: Vec<&str> = ["demo", "--admissions", file.path()]
        .into_iter()
        .chain(load.split(' '))
        .collect();
    assert_eq!(code(&demo), Some(0));
    let offered = admitted_by_key(&file);
    assert_eq!(offered.len(), 6);
    assert!(offered.values().all(|count| *count > 200), "{offered:?}");
    for binary in LocalServer::find_or_skip() {
        for policy in ["closed", "local", "open"] {
            let server = start_server(&binary);
            let url = server.url();
            let mut command = Command::new(PROGRAM);
            let mut child = start(
                command
                    .args(&demo)
                    .args(["--redis", &url, "--policy", policy]),
            );
            wait_until("the key has its bucket", || plant(&server, "*demo:user:3"));
            let (code, said) = ended(&mut child, policy);
            let mut admitted = admitted_by_key(&file);
            let of_key = admitted.insert(3, offered[&3]).unwrap_or(0);
            assert_eq!(admitted, offered, "{policy}: {said}");
            match policy {
                "closed" => assert!(of_key < offered[&3], "{said}"),
                "open" => assert_eq!(of_key, offered[&3], "{said}"),
                _ => assert!(of_key > 0, "{said}"),
            }
            assert_eq!(code, Some(0), "{policy}: {said}");
        }
    }
}

/// Puts a list in place of the bucket that `pattern` finds; false if there is none yet.
fn plant(server: &LocalServer, pattern: &str) -> bool {
    let found = server
        .run(redis::cmd("KEYS").arg(pattern))
        .expect("answers");
    let found: Vec<Vec<u8>> = redis::from_redis_value(found).expect("names");
    let Some(name) = found.first() else {
        return false;
    };
    server.run(redis::cmd("DEL").arg(name)).expect("answers");
    let list = server.run(redis::cmd("LPUSH").arg(name).arg("x"));
    // A call in between has made the bucket anew.
    list.is_ok()
}

fn admitted_by_key(file: &Scratch) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    let text = fs::read_to_string(&file.0).expect("it was written");
    for line in text.lines().skip(1) {
        let key = line.split(',').nth(3).and_then(|key| key.parse().ok());
        *counts.entry(key.expect("a key")).or_default() += 1;
    }
    counts
}

/// Keys without a time to live would stay on somebody's server for ever.
#[test]
#[cfg(target_os = "linux")]
fn a_demo_leaves_nothing_on_a_server_but_what_was_there() {
    for binary in LocalServer::find_or_skip() {
        let server = start_server(&binary);
        server
            .run(redis::cmd("SET").arg("{leasehold-demo-1-1:0}x").arg(1))
            .expect("is set");
        let url = server.url();
        let keys = || server.run(&redis::cmd("DBSIZE")).expect("answers");
        let demo = [
            "demo",
            "--redis",
            &url,
            "--duration",
            "1s",
            "--keys",
            "3000",
        ];
        let compared = run(&[&demo[..], &["--compare", "--processes"]].concat());
        assert_eq!(
            compared.status.code(),
            Some(0),
            "{}",
            text(&compared.stderr)
        );
        assert_eq!(keys(), redis::Value::Int(1), "{}", text(&compared.stdout));

        let mut command = Command::new(PROGRAM);
        let mut child = start(command.args(["demo", "--redis", &url, "--duration", "100s"]));
        wait_until("it writes", || keys() != redis::Value::Int(1));
        signal(&child, Signal::INT);
        let (code, said) = ended(&mut child, "demo --redis");
        assert_eq!(code, Some(130), "{said}");
        assert_eq!(keys(), redis::Value::Int(1), "{said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_demo_goes_on_through_a_restart_of_its_server_and_keeps_its_record() {
    for binary in LocalServer::find_or_skip() {
        let mut server = start_server(&binary);
        let file = Scratch::new("restart.csv", "");
        let (url, file_path) = (server.url(), file.path());
        let mut command = Command::new(PROGRAM);
        command.args([
            "demo",
            "--redis",
            &url,
            "--duration",
            "8s",
            "--admissions",
            file_path,
        ]);
        let mut child = start(&mut command);
        thread_sleep(Duration::from_secs(2));
        server.kill();
        thread_sleep(Duration::from_millis(300));
        server.restart().expect("starts again");
        let (code, said) = ended(&mut child, "demo --redis");
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("the server was restarted"), "{said}");
        assert!(
            said.contains("the bound held") || said.contains("The bound held"),
            "{said}"
        );
        let admissions = fs::read_to_string(&file.0).expect("it was written");
        assert!(admissions.lines().count() > 1000, "{said}");
        let keys = server.run(&redis::cmd("DBSIZE")).expect("answers");
        assert_eq!(keys, redis::Value::Int(0), "{said}");
    }
}

fn start_server(binary: &leasehold_testbed::Binary) -> LocalServer {
    let options = leasehold_testbed::ServerOptions {
        binary: Some(binary.clone()),
        ..Default::default()
    };
    LocalServer::start(&options).expect("starts")
}

/// Starts the program and waits until it listens for signals.
fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program was built");
    let status = format!("/proc/{}/status", child.id());
    wait_until("it listens for signals", || {
        catches_interrupts(Path::new(&status))
    });
    child
}

/// Waits until something is so, for as long as is prompt.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..PROMPTLY.as_millis() / STEP.as_millis() {
        if is_so() {
            return;
        }
        thread_sleep(STEP);
    }
    panic!("not in time: {what}");
}

/// Whether the kernel says that a process has a handler for SIGINT, the second signal.
fn catches_interrupts(status: &Path) -> bool {
    let status = fs::read_to_string(status).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & 0b10 != 0)
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id()).expect("ids are small");
    kill_process(Pid::from_raw(id).expect("it is no 0"), signal).expect("it is ours");
}

/// The exit code, and all that was said, of a program that is to end soon.
fn ended(child: &mut Child, line: &str) -> (Option<i32>, String) {
    let mut status = None;
    wait_until(line, || {
        status = child.try_wait().expect("it is ours");
        status.is_some()
    });
    let mut said = String::new();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let _ = out.expect("piped").read_to_string(&mut said);
    let _ = err.expect("piped").read_to_string(&mut said);
    (status.and_then(|status| status.code()), said)
}

#[expect(clippy::disallowed_methods, reason = "waits for processes")]
fn thread_sleep(time: Duration) {
    thread::sleep(time);
}

/// A small part of what the commands would take, and enough for a machine with much else to do.
const PROMPTLY: Duration = Duration::from_secs(30);

const STEP: Duration = Duration::from_millis(20);
