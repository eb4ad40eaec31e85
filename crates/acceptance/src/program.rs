//! The command line, run as a user would run it.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use serde_json::Value;

use crate::runner::{Outcome, broken, promise};

/// The program `leasehold`.
pub(crate) struct Program {
    path: PathBuf,
}

/// A run of a program that has ended.
pub(crate) struct Done {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) printed: String,
    /// Its standard error.
    pub(crate) said: String,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Program {
    /// The program in the directory of this one.
    pub(crate) fn beside_this_one() -> Result<Self, String> {
        let this = env::current_exe().map_err(|error| error.to_string())?;
        let path = this.with_file_name(format!("leasehold{}", env::consts::EXE_SUFFIX));
        if path.is_file() {
            return Ok(Self { path });
        }
        let path = path.display();
        Err(format!(
            "there is no {path}; build both: cargo build --release -p leasehold-cli \
             -p leasehold-acceptance"
        ))
    }

    /// Runs the program with `arguments` in the root of the repository.
    pub(crate) fn run(&self, arguments: &[&str], timeout: Duration) -> Outcome<Done> {
        self.start(arguments)?.wait(timeout)
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn print(&self, arguments: &[&str]) -> Outcome<String> {
        let done = self.run(arguments, TOOL_TIMEOUT)?;
        promise(done.code == Some(0), || {
            let (printed, said) = (tail(&done.printed), tail(&done.said));
            let code = shown(done.code);
            format!(
                "leasehold {}: exit code {code}\n{printed}\n{said}",
                arguments.join(" ")
            )
        })?;
        Ok(done.printed)
    }

    /// Starts the program with `arguments`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Outcome<Running> {
        let mut command = Command::new(&self.path);
        command.args(arguments);
        Running::start(command)
    }
}

/// Runs `command`, which is not the program of this project.
pub(crate) fn run(command: Command) -> Outcome<Done> {
    Running::start(command)?.wait(TOOL_TIMEOUT)
}

/// A process that has not been waited for. Dropping it kills the process.
pub(crate) struct Running {
    child: Child,
    name: String,
    /// Files, not pipes: nobody has to read them for the process to go on.
    printed: File,
    said: File,
    began: Instant,
}

impl Running {
    #[expect(
        clippy::disallowed_methods,
        reason = "times processes, which live in real time"
    )]
    fn start(mut command: Command) -> Outcome<Self> {
        let name = format!("{command:?}");
        let open = || tempfile::tempfile().map_err(broken);
        let (printed, said) = (open()?, open()?);
        command
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(printed.try_clone().map_err(broken)?)
            .stderr(said.try_clone().map_err(broken)?);
        let began = Instant::now();
        let child = command.spawn();
        let child = child.map_err(|error| broken(format_args!("{name}: {error}")))?;
        Ok(Self {
            child,
            name,
            printed,
            said,
            began,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process ends.
    pub(crate) fn wait(mut self, timeout: Duration) -> Outcome<Done> {
        let status = self.ended_within(timeout).map_err(broken)?;
        let Some((status, took)) = status else {
            let name = &self.name;
            return Err(broken(format_args!("{name}: not done within {timeout:?}")));
        };
        Ok(Done {
            code: status.code(),
            printed: content(&mut self.printed).map_err(broken)?,
            said: content(&mut self.said).map_err(broken)?,
            took,
        })
    }

    /// The status of the process and how long it took; none if it still runs after `timeout`.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for a process, which lives in real time"
    )]
    fn ended_within(&mut self, timeout: Duration) -> io::Result<Option<(ExitStatus, Duration)>> {
        loop {
            let took = self.began.elapsed();
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some((status, took)));
            }
            if took >= timeout {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the process was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Parses the report that a command printed.
pub(crate) fn report(printed: &str) -> Outcome<Value> {
    serde_json::from_str(printed).map_err(|error| broken(format_args!("no report: {error}")))
}

/// The number called `name` in a report.
pub(crate) fn number(report: &Value, name: &str) -> Outcome<f64> {
    let number = report[name].as_f64();
    number.ok_or_else(|| broken(format_args!("the report has no number {name:?}")))
}

/// The list called `name` in a report.
pub(crate) fn list<'a>(report: &'a Value, name: &str) -> Outcome<&'a [Value]> {
    let list = report[name].as_array().map(Vec::as_slice);
    list.ok_or_else(|| broken(format_args!("the report has no list {name:?}")))
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates
        .and_then(Path::parent)
        .expect("the package lies in the folder `crates` of the root")
}

/// An exit code as a message shows it.
pub(crate) fn shown(code: Option<i32>) -> String {
    code.map_or_else(|| "none".to_owned(), |code| code.to_string())
}

fn content(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a long output.
fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(3000);
    let start = (start..text.len()).find(|start| text.is_char_boundary(*start));
    &text[start.unwrap_or(0)..]
}

/// Longer than any command of the simulator takes on a busy machine.
const TOOL_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);
