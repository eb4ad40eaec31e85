//! Rows, and how they are run.
//!
//! # Invariant
//!
//! A row that breaks a promise is not tried again. A row that misses an expectation is tried
//! [`ATTEMPTS`] times in all.

use std::fmt::Display;
use std::thread;
use std::time::Instant;

use leasehold_testbed::LocalServer;

use crate::program::Program;

/// The things that all rows share.
pub(crate) struct Setup {
    /// The command line.
    pub(crate) program: Program,
    /// A server that is empty at the beginning.
    pub(crate) server: LocalServer,
    /// Whether the rows that take a minute are left out.
    pub(crate) quick: bool,
}

/// One command, or a few, and what is checked of it.
pub(crate) struct Row {
    name: &'static str,
    run: fn(&Setup) -> Outcome,
    takes_a_minute: bool,
    /// Whether the row hardly uses the processor.
    is_idle: bool,
    /// Whether the idle rows begin together with this one.
    with_idle_rows: bool,
}

/// The outcome of a row: what was found, in words, or the failure.
pub(crate) type Outcome<T = String> = Result<T, Failure>;

/// Why a row failed.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// A promise that must hold in every run does not.
    Broken(String),
    /// A figure that a busy machine may spoil is not as expected.
    Missed(String),
}

/// Fails if a promise, which must hold in every run, does not hold.
pub(crate) fn promise<W: Display>(holds: bool, what: impl FnOnce() -> W) -> Outcome<()> {
    if holds { Ok(()) } else { Err(broken(what())) }
}

/// Fails if a figure that a busy machine may spoil is not as expected.
pub(crate) fn expect<W: Display>(holds: bool, what: impl FnOnce() -> W) -> Outcome<()> {
    if holds {
        Ok(())
    } else {
        Err(Failure::Missed(what().to_string()))
    }
}

/// The failure of a promise.
pub(crate) fn broken(what: impl Display) -> Failure {
    Failure::Broken(what.to_string())
}

impl Row {
    pub(crate) const fn new(name: &'static str, run: fn(&Setup) -> Outcome) -> Self {
        Self {
            name,
            run,
            takes_a_minute: false,
            is_idle: false,
            with_idle_rows: false,
        }
    }

    /// Leaves the row out of quick runs.
    pub(crate) const fn takes_a_minute(self) -> Self {
        Self {
            takes_a_minute: true,
            ..self
        }
    }

    /// Lets the row run beside others, because it hardly uses the processor.
    pub(crate) const fn idle(self) -> Self {
        Self {
            is_idle: true,
            ..self
        }
    }

    /// Begins the idle rows together with this row.
    pub(crate) const fn with_idle_rows(self) -> Self {
        Self {
            with_idle_rows: true,
            ..self
        }
    }
}

/// Runs `rows` one after the other, and returns whether all passed. Idle rows run beside the row
/// that is marked for them and those after it, which leave the server alone: earlier rows count the
/// server's commands.
pub(crate) fn run_all(rows: &[Row], setup: &Setup) -> bool {
    let chosen = || {
        rows.iter()
            .filter(|row| !(setup.quick && row.takes_a_minute))
    };
    let check = |row: &Row| check(row.name, || (row.run)(setup));
    thread::scope(|threads| {
        let mut beside = Vec::new();
        let mut all_passed = true;
        for row in chosen().filter(|row| !row.is_idle) {
            if row.with_idle_rows {
                let idle = chosen().filter(|row| row.is_idle);
                beside.extend(idle.map(|row| threads.spawn(move || check(row))));
            }
            all_passed &= check(row);
        }
        for idle in beside {
            // A panic was reported by the thread.
            all_passed &= idle.join().unwrap_or(false);
        }
        all_passed
    })
}

/// Tries one row, prints a line for each attempt, and returns whether it passed.
#[expect(
    clippy::disallowed_methods,
    reason = "times processes, which live in real time"
)]
fn check(name: &str, run: impl Fn() -> Outcome) -> bool {
    for attempt in 1..=ATTEMPTS {
        let began = Instant::now();
        match run() {
            Ok(found) => {
                let seconds = began.elapsed().as_secs_f64();
                println!("  ok       {name}: {found} ({seconds:.0} s)");
                return true;
            }
            Err(Failure::Missed(what)) => {
                println!("  missed   {name}: {what} (attempt {attempt} of {ATTEMPTS})");
            }
            Err(Failure::Broken(what)) => {
                println!("  BROKEN   {name}: {what}");
                return false;
            }
        }
    }
    false
}

/// How often a row that misses an expectation is tried.
const ATTEMPTS: u32 = 3;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Runs a row that ends as `outcomes` say, one for each attempt; whether it passed, and the
    /// number of attempts.
    fn tried(outcomes: &[Outcome<()>]) -> (bool, usize) {
        let attempts = Cell::new(0);
        let passed = check("row", || {
            let outcome = &outcomes[attempts.get()];
            attempts.set(attempts.get() + 1);
            match outcome {
                Ok(()) => Ok(String::new()),
                Err(Failure::Broken(what)) => Err(Failure::Broken(what.clone())),
                Err(Failure::Missed(what)) => Err(Failure::Missed(what.clone())),
            }
        });
        (passed, attempts.get())
    }

    #[test]
    fn an_expectation_is_tried_three_times_and_a_promise_once() {
        let missed = || expect(false, || "slow");
        assert_eq!(tried(&[Ok(())]), (true, 1));
        assert_eq!(tried(&[missed(), missed(), Ok(())]), (true, 3));
        assert_eq!(tried(&[missed(), missed(), missed()]), (false, 3));
        assert_eq!(tried(&[promise(false, || "over")]), (false, 1));
        assert_eq!(tried(&[missed(), promise(false, || "over")]), (false, 2));
    }
}
