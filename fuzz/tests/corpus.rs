//! The committed inputs, and some made of them: what `cargo test` runs of each target.
//!
//! The seed is fixed, so that a commit passes or fails; `scripts/test --only fuzz` draws another
//! each time, for longer.

use leasehold_fuzz::TARGETS;
use leasehold_fuzz::program::{corpus, try_all, try_made};

#[test]
fn what_strangers_say_breaks_no_promise() {
    std::thread::scope(|scope| {
        for (name, check) in TARGETS {
            scope.spawn(move || {
                let corpus = corpus(name);
                let held = try_all(check, &corpus);
                let held = held.and_then(|()| try_made(check, &corpus, 1, INPUTS));
                assert!(held.is_ok(), "{name}: {held:?}");
            });
        }
    });
}

/// A check that cannot fail proves nothing.
#[test]
fn an_input_that_fails_is_found() {
    let corpus = [b"1000/s".to_vec()];
    let found = try_made(|input| assert!(!input.contains(&b'7')), &corpus, 1, 1000);
    assert!(found.is_err());
}

/// Made of each corpus: a second or so.
const INPUTS: u64 = 500;
