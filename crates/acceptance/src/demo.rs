//! Rows about `leasehold demo`: what real runs promise, and what they say to bad input.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;
use std::{fs, thread};

use leasehold_testbed::{LocalServer, ServerOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{Program, list, number, report, shown};
use crate::runner::{Outcome, Setup, broken, expect, promise};

pub(crate) fn compare(setup: &Setup) -> Outcome {
    let ran = demo(&setup.program, &["--compare"])?;
    let seconds = ran.took.as_secs_f64();
    promise(seconds < 60.0, || format!("took {seconds:.0} s"))?;
    let central = number(&ran.report["central"], "overshoot_tokens")?;
    promise(is_zero(central), || "the centralised limiter overshot")?;
    saturated(ran.leased(), 0.99)
}

pub(crate) fn a_minute(setup: &Setup) -> Outcome {
    let ran = demo(&setup.program, &["--duration", "60s"])?;
    saturated(ran.leased(), 0.997)
}

/// The server's own counts agree with those of the limiter.
pub(crate) fn processes(setup: &Setup) -> Outcome {
    let url = setup.server.url();
    let arguments = [
        "--redis",
        &url,
        "--processes",
        "--replicas",
        "4",
        "--compare",
    ];
    let ran = demo(&setup.program, &arguments)?;
    for run in [ran.leased(), &ran.report["central"]] {
        for (count, own) in [
            ("server_script_calls", "store_round_trips"),
            ("server_keys_written", "store_calls"),
        ] {
            let (counted, told) = (&run[count], &run[own]);
            let same = !counted.is_null() && counted == told;
            expect(same, || format!("{count} is {counted}, {own} is {told}"))?;
        }
    }
    saturated(ran.leased(), 0.99)
}

pub(crate) fn skewed(setup: &Setup) -> Outcome {
    let url = setup.server.url();
    let ran = demo(
        &setup.program,
        &["--redis", &url, "--processes", "--skew", "0.8"],
    )?;
    let utilisation = number(ran.leased(), "utilisation")?;
    expect(utilisation >= 0.99, || {
        format!("utilisation {utilisation:.4}")
    })?;
    Ok(format!("utilisation {utilisation:.4}"))
}

pub(crate) fn below_the_limit(setup: &Setup) -> Outcome {
    let arguments = [
        "--rate",
        "10000/s",
        "--burst",
        "10000",
        "--offered",
        "5000/s",
    ];
    let ran = demo(&setup.program, &arguments)?;
    let denials = number(ran.leased(), "false_denials")?;
    expect(is_zero(denials), || format!("{denials} false denials"))?;
    let trips = trips_per_decision(ran.leased())?;
    expect(trips <= 0.01, || {
        format!("round trips {trips:.4} of decisions")
    })?;
    Ok(format!(
        "0 false denials, round trips {} of decisions",
        percent(trips)
    ))
}

pub(crate) fn slow(setup: &Setup) -> Outcome {
    let url = setup.server.url();
    let limit = ["--rate", "5/min", "--burst", "5", "--offered", "20/s"];
    let run = ["--duration", "60s", "--redis", &url];
    let ran = demo(&setup.program, &[&limit[..], &run].concat())?;
    let calls = trips_per_second(ran.leased())?;
    expect(calls <= 2.0, || format!("{calls:.2} store calls a second"))?;
    let admitted = number(ran.leased(), "admitted")?;
    expect(admitted >= 9.0, || {
        format!("admitted {admitted}: a first request was denied")
    })?;
    Ok(format!(
        "{admitted} admitted, {calls:.2} store calls a second"
    ))
}

pub(crate) fn many_keys(setup: &Setup) -> Outcome {
    let url = setup.server.url();
    let keys = [
        "--keys", "100000", "--zipf", "0.99", "--rate", "100/min", "--burst", "100",
    ];
    let run = ["--offered", "10000/s", "--redis", &url];
    let ran = demo(&setup.program, &[&keys[..], &run].concat())?;
    let trips = trips_per_second(ran.leased())?;
    // Most requests ask the store, and none waits for another; some share a round trip all the
    // same.
    expect(trips <= 5000.0, || {
        format!("{trips:.0} round trips a second")
    })?;
    Ok(format!(
        "{trips:.0} round trips a second, overshoot 0 on every key"
    ))
}

/// One of four processes is killed in the middle of a run.
#[expect(
    clippy::disallowed_methods,
    reason = "waits for a process, which lives in real time"
)]
pub(crate) fn kill_one(setup: &Setup) -> Outcome {
    let directory = tempfile::tempdir().map_err(broken)?;
    let admissions = directory.path().join("admissions.csv");
    let admissions = admissions.to_string_lossy();
    let url = setup.server.url();
    let arguments = [
        "demo",
        "--json",
        "--redis",
        &url,
        "--processes",
        "--duration",
        "10s",
    ];
    let log = ["--admissions", &admissions];
    let parent = setup.program.start(&[&arguments[..], &log].concat())?;
    thread::sleep(Duration::from_secs(5));
    kill_process(first_child(parent.pid())?, Signal::KILL).map_err(broken)?;
    let done = parent.wait(Duration::from_secs(65))?;
    promise(done.code == Some(0), || {
        format!("exit code {}: {}", shown(done.code), done.said.trim())
    })?;
    let leased = report(&done.printed)?["leased"].take();
    let lost = list(&leased, "replicas_lost")?;
    promise(lost.len() == 1, || format!("lost {lost:?}"))?;
    check_overshoot(&leased)?;
    let judge = ["judge", &admissions, "--rate", "1000/s"];
    let judged = setup.program.run(&judge, DEMO_TIMEOUT)?;
    promise(judged.code == Some(0), || judged.printed + &judged.said)?;
    // What the dead replica held is charged when its lease ends and drains at the rate: at most a
    // quarter of the burst, beside what its own load would have taken.
    let lost = number(&leased, "ideal_admitted")? - number(&leased, "admitted")?;
    expect(lost <= 250.0 + 110.0, || format!("{lost} tokens lost"))?;
    Ok(format!("the rest went on, overshoot 0, {lost} tokens lost"))
}

/// Each mistake is answered within 3 s, with what is wrong and with the right exit code.
pub(crate) fn bad_input(setup: &Setup) -> Outcome {
    let closed = format!("redis://127.0.0.1:{}", free_port()?);
    let guarded = LocalServer::start(&ServerOptions {
        password: Some("secret".to_owned()),
        ..ServerOptions::default()
    });
    let guarded = guarded.map_err(broken)?;
    let port = guarded
        .port()
        .ok_or_else(|| broken("the server has no port"))?;
    let wrong_password = format!("redis://:wrong@127.0.0.1:{port}");
    let mistakes: [(&[&str], &str); 10] = [
        (&["--rate", "0/s"], "a rate of 0"),
        (&["--rate", "1000"], "a period is missing"),
        (&["--burst", "-1"], "cannot be negative"),
        (
            &["--rate", "999983/day", "--burst", "1G"],
            "too large together",
        ),
        (&["--rate", "1/20000day"], "a shorter period"),
        (&["--duration", "10"], "a number and a unit"),
        (&["--processes"], "--redis"),
        (&["--redis", &closed], "nothing listens there"),
        (&["--redis", "http://127.0.0.1"], "redis://"),
        (&["--redis", &wrong_password], "password"),
    ];
    for (arguments, part) in mistakes {
        let done = setup
            .program
            .run(&[&["demo"], arguments].concat(), BAD_INPUT_TIMEOUT)?;
        let (shown_arguments, said) = (arguments.join(" "), &done.said);
        let is_answer =
            said.contains(part) && !said.contains("panicked") && !said.contains("wrong@");
        promise(done.code == Some(2) && is_answer, || {
            let code = shown(done.code);
            format!("{shown_arguments}: exit code {code}, said: {}", said.trim())
        })?;
        let seconds = done.took.as_secs_f64();
        promise(seconds < 3.0, || {
            format!("{shown_arguments}: took {seconds:.1} s")
        })?;
    }
    Ok(format!("{} mistakes answered", mistakes.len()))
}

/// A run of the demo that succeeded and did not overshoot.
struct Ran {
    report: Value,
    took: Duration,
}

impl Ran {
    fn leased(&self) -> &Value {
        &self.report["leased"]
    }
}

fn demo(program: &Program, arguments: &[&str]) -> Outcome<Ran> {
    let done = program.run(&[&["demo", "--json"], arguments].concat(), DEMO_TIMEOUT)?;
    promise(done.code == Some(0), || {
        format!("exit code {}: {}", shown(done.code), done.said.trim())
    })?;
    let ran = Ran {
        report: report(&done.printed)?,
        took: done.took,
    };
    check_overshoot(ran.leased())?;
    Ok(ran)
}

fn check_overshoot(leased: &Value) -> Outcome<()> {
    let overshoot = number(leased, "overshoot_tokens")?;
    promise(is_zero(overshoot), || format!("overshoot {overshoot}"))
}

/// Checks a run in which more is offered than the limit admits.
fn saturated(leased: &Value, utilisation_min: f64) -> Outcome {
    let utilisation = number(leased, "utilisation")?;
    expect(utilisation >= utilisation_min, || {
        format!("utilisation {utilisation:.4}")
    })?;
    let local = number(leased, "local_share")?;
    expect(local >= 0.96, || format!("local share {local:.4}"))?;
    let trips = trips_per_decision(leased)?;
    expect(trips <= 0.03, || {
        format!("round trips {trips:.4} of decisions")
    })?;
    let (local, trips) = (percent(local), percent(trips));
    Ok(format!(
        "utilisation {utilisation:.4}, local {local}, round trips {trips} of decisions"
    ))
}

fn trips_per_decision(run: &Value) -> Outcome<f64> {
    Ok(number(run, "store_round_trips")? / number(run, "offered")?)
}

fn trips_per_second(run: &Value) -> Outcome<f64> {
    Ok(number(run, "store_round_trips")? / number(run, "seconds")?)
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Whether a count is 0.
fn is_zero(count: f64) -> bool {
    count.abs() < f64::EPSILON
}

/// The first child process of the process `parent`.
fn first_child(parent: u32) -> Outcome<Pid> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(file).map_err(broken)?;
    let mut children = children.split_whitespace();
    let first = children.next().and_then(|pid| pid.parse().ok());
    first
        .and_then(Pid::from_raw)
        .ok_or_else(|| broken("the demo has started no process"))
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(broken)?;
    Ok(listener.local_addr().map_err(broken)?.port())
}

const DEMO_TIMEOUT: Duration = Duration::from_secs(180);
const BAD_INPUT_TIMEOUT: Duration = Duration::from_secs(30);
