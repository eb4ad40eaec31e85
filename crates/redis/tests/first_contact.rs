//! The sentence that a newcomer sees of an error: `main` returns it, and Rust shows its `Debug`.

use std::env;
use std::error::Error;
use std::process::{Command, Output};

use leasehold::{Limiter, Tuning};
use leasehold_redis::RedisStore;

/// It showed `ConnectError { address: "127.0.0.1:1", fault: Refused }`.
#[test]
fn a_program_that_cannot_connect_ends_with_a_sentence() {
    let output = run("connects");
    let shown = "Error: cannot connect to redis://127.0.0.1:1: nothing listens there; is the server running?";
    assert!(shows(&output, shown), "{output:?}");
}

#[test]
fn a_program_with_a_bad_url_ends_with_a_sentence() {
    let output = run("reads_a_url");
    let shown = "Error: cannot connect to 127.0.0.1: it must begin with redis://";
    assert!(shows(&output, shown), "{output:?}");
}

#[test]
fn a_program_with_a_bad_limit_ends_with_a_sentence() {
    let output = run("reads_a_limit");
    assert!(
        shows(
            &output,
            "Error: limit `api`: in `1000`: a period is missing"
        ),
        "{output:?}"
    );
}

#[test]
fn a_program_that_cannot_build_ends_with_a_sentence() {
    let output = run("builds");
    assert!(
        shows(&output, "Error: tuning: `batch_keys` is zero"),
        "{output:?}"
    );
}

#[test]
fn a_program_that_is_denied_ends_with_a_sentence() {
    let output = run("is_denied");
    let shown = "Error: request denied: the key is too long; no retry can succeed";
    assert!(shows(&output, shown), "{output:?}");
}

/// Starts this program again, as the one of `programs` of that name.
fn run(program: &str) -> Output {
    let mut command = Command::new(env::current_exe().expect("this program"));
    let name = format!("programs::{program}");
    command.args(["--ignored", "--exact", "--nocapture", &name]);
    let output = command.output().expect("it starts");
    assert!(!output.status.success(), "{output:?}");
    output
}

fn shows(output: &Output, sentence: &str) -> bool {
    let both = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    both.iter().any(|text| text.contains(sentence))
}

/// A test ends as `main` does: the standard library shows what it returns in the same way.
mod programs {
    use super::*;

    type Ends = Result<(), Box<dyn Error>>;

    #[tokio::test]
    #[ignore = "it is started by the tests above"]
    async fn connects() -> Ends {
        RedisStore::connect("redis://127.0.0.1:1").await?;
        Ok(())
    }

    #[tokio::test]
    #[ignore = "it is started by the tests above"]
    async fn reads_a_url() -> Ends {
        RedisStore::connect("127.0.0.1").await?;
        Ok(())
    }

    #[tokio::test]
    #[ignore = "it is started by the tests above"]
    async fn reads_a_limit() -> Ends {
        let limiter = Limiter::builder().limit("api", "1000").build()?;
        Ok(limiter.shutdown().await?)
    }

    #[tokio::test]
    #[ignore = "it is started by the tests above"]
    async fn builds() -> Ends {
        let mut tuning = Tuning::default();
        tuning.batch_keys = 0;
        let builder = Limiter::builder().limit("api", "1000/s");
        let limiter = builder.tuning(tuning).build()?;
        Ok(limiter.shutdown().await?)
    }

    #[tokio::test]
    #[ignore = "it is started by the tests above"]
    async fn is_denied() -> Ends {
        let limiter = Limiter::builder().limit("api", "1000/s").build()?;
        limiter.acquire(&"x".repeat(1025), 1).await.check()?;
        Ok(())
    }
}
