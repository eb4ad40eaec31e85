//! How a command ended, and the exit code that says so.
//!
//! | code | means |
//! |---|---|
//! | 0 | all is well: every promise, bound and expectation was kept |
//! | 1 | a promise, a bound or an expectation was broken, or objectives are in conflict |
//! | 2 | the command could not be carried out: bad usage, unreadable input, no server, no file |
//! | 130 | Ctrl-C ended it; what was printed is of a part, and says so |
//! | 143 | the system asked it to end (SIGTERM); otherwise as 130 |

use std::fmt::Display;
use std::process::ExitCode;

use crate::interrupt;
use crate::output::paint_error;

/// How a command ended that could be carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// All was kept.
    Kept,
    /// Something was broken.
    Broken,
}

impl Ending {
    /// [`Kept`](Self::Kept) if `kept`.
    pub(crate) const fn of(kept: bool) -> Self {
        if kept { Self::Kept } else { Self::Broken }
    }
}

/// Says what went wrong, if anything did, and gives the exit code.
pub(crate) fn exit_code<E: Display>(outcome: Result<Ending, E>) -> ExitCode {
    let code = match outcome {
        Ok(Ending::Kept) => 0,
        Ok(Ending::Broken) => 1,
        Err(error) => {
            anstream::eprintln!("{}: {error}", paint_error("error"));
            2
        }
    };
    ExitCode::from(interrupt::asked().map_or(code, interrupt::Signal::exit_code))
}

/// The table above, for the help. A test holds the two together.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    all is well: every promise, bound and expectation was kept
  1    a promise, a bound or an expectation was broken, or objectives are in conflict
  2    the command could not be carried out: bad usage, unreadable input, no server, no file
  130  Ctrl-C ended it; what was printed is of a part, and says so
  143  the system asked it to end (SIGTERM); otherwise as 130";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_and_the_documents_have_the_same_table() {
        let readme = include_str!("../../../docs/OPERATING.md");
        for line in EXIT_CODES.lines().skip(1) {
            let (code, means) = line.trim().split_once(' ').expect("a code and its meaning");
            let row = format!("| {code} | {} |", means.trim());
            assert!(
                include_str!("ending.rs").contains(&format!("//! {row}")),
                "{row}"
            );
            assert!(readme.contains(&row), "docs/OPERATING.md: {row}");
        }
    }

    #[test]
    fn what_was_broken_and_what_could_not_be_done_differ() {
        let code = |outcome| format!("{:?}", exit_code::<String>(outcome));
        let is = |number: u8| format!("{:?}", ExitCode::from(number));
        assert_eq!(code(Ok(Ending::of(true))), is(0));
        assert_eq!(code(Ok(Ending::of(false))), is(1));
        assert_eq!(code(Err("no file".to_owned())), is(2));
    }
}
