//! A real Redis or Valkey on loopback, started and ended by the process that needs it.
//!
//! # Invariant
//!
//! A server belongs to the [`LocalServer`] that started it. It is reached by its own port or
//! socket, keeps nothing on disk that outlives it, and is killed by its own process id: when
//! dropped, and by a watchdog should this process die first. No other server is ever touched,
//! whatever it listens on.
//!
//! All calls block, for some milliseconds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fmt, thread};

use redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, Value};
use tempfile::TempDir;

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct LocalServer {
    binary: Binary,
    options: ServerOptions,
    endpoint: Endpoint,
    process: Process,
    directory: TempDir,
}

/// The kind of server to start, and its settings.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The program; without one, the first that [`LocalServer::all_kinds`] finds.
    pub binary: Option<Binary>,
    /// The password that clients need.
    pub password: Option<String>,
    /// Listen on a Unix socket and on no port.
    pub unix_socket: bool,
    /// Further options, as on the server's command line: `["--maxmemory", "10mb"]`.
    pub arguments: Vec<String>,
    /// Run as a sentinel, with these lines of configuration:
    /// `["monitor main 127.0.0.1 7000 2"]`.
    pub sentinel: Option<Vec<String>>,
}

/// A server program found on this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binary {
    /// Its maker.
    pub kind: Kind,
    /// Its version, as in `7.0.15`.
    pub version: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The maker of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Redis.
    Redis,
    /// Valkey, forked from Redis 7.2.
    Valkey,
}

#[derive(Debug)]
enum Endpoint {
    Port(u16),
    Socket(PathBuf),
}

impl LocalServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if no server is found, or it does not start or answer.
    pub fn start(options: &ServerOptions) -> Result<Self, ServerError> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => Self::all_kinds()?.swap_remove(0),
        };
        // Another process may take the free port before the server does.
        let mut retries = PORT_RETRIES;
        loop {
            match Self::start_once(binary.clone(), options.clone()) {
                Err(ServerError::Exited { .. }) if retries > 0 => retries -= 1,
                started => return started,
            }
        }
    }

    fn start_once(binary: Binary, options: ServerOptions) -> Result<Self, ServerError> {
        let directory = TempDir::with_prefix("leasehold-")?;
        let endpoint = if options.unix_socket {
            Endpoint::Socket(directory.path().join("socket"))
        } else {
            Endpoint::Port(free_port()?)
        };
        let process = Process::start(&binary, &options, &endpoint, directory.path())?;
        let mut server = Self {
            binary,
            options,
            endpoint,
            process,
            directory,
        };
        server.wait_until_up()?;
        Ok(server)
    }

    /// The programs that can be started here, at most one of each kind: first
    /// `$LEASEHOLD_REDIS_SERVER`, then those on the `PATH`, then those that `scripts/server.sh` put
    /// into `target/tools/`.
    ///
    /// # Errors
    ///
    /// [`ServerError::Missing`] if there is none; [`ServerError::NotAServer`] if the variable names
    /// something else.
    pub fn all_kinds() -> Result<Vec<Binary>, ServerError> {
        let mut found: Vec<Binary> = Vec::new();
        if let Some(path) = env::var_os(SERVER_VARIABLE).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            let binary = Binary::identify(&path).ok_or(ServerError::NotAServer { path })?;
            found.push(binary);
        }
        for path in usual_places() {
            let known = |binary: &Binary| found.iter().any(|other| other.kind == binary.kind);
            found.extend(Binary::identify(&path).filter(|binary| !known(binary)));
        }
        if found.is_empty() {
            return Err(ServerError::Missing);
        }
        Ok(found)
    }

    /// For tests: the programs to test with, one after the other. Without any, says so on standard
    /// error, past the test harness, and returns none.
    ///
    /// # Panics
    ///
    /// If there is none and `LEASEHOLD_REQUIRE_REDIS` is `1`, or if `LEASEHOLD_REDIS_SERVER` names
    /// something else.
    pub fn find_or_skip() -> Vec<Binary> {
        match Self::all_kinds() {
            Ok(found) => found,
            Err(error @ ServerError::Missing) => {
                let required = env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1");
                assert!(!required, "{error}");
                let test = thread::current().name().unwrap_or("a test").to_owned();
                // `eprintln` would be captured by the harness, and the skip silent.
                // If standard error is closed, there is nobody to tell.
                let _ = writeln!(io::stderr(), "\nSKIPPED {test}: {error}");
                Vec::new()
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The URL for clients, with the password.
    pub fn url(&self) -> String {
        let password = self.options.password.as_deref().map(percent_encoded);
        match (&self.endpoint, password) {
            (Endpoint::Port(port), None) => format!("redis://127.0.0.1:{port}"),
            (Endpoint::Port(port), Some(password)) => {
                format!("redis://:{password}@127.0.0.1:{port}")
            }
            (Endpoint::Socket(path), None) => format!("redis+unix://{}", path.display()),
            (Endpoint::Socket(path), Some(password)) => {
                format!("redis+unix://{}?pass={password}", path.display())
            }
        }
    }

    /// The port it listens on; none if it listens on a socket.
    pub fn port(&self) -> Option<u16> {
        match self.endpoint {
            Endpoint::Port(port) => Some(port),
            Endpoint::Socket(_) => None,
        }
    }

    /// The program.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// The process id of the server, or of the last one if it was killed.
    pub fn pid(&self) -> u32 {
        self.process.server.id()
    }

    /// Kills the server at once (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again, empty, at the same place; kills it first if it runs.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it does not start or answer.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.process = Process::start(
            &self.binary,
            &self.options,
            &self.endpoint,
            self.directory.path(),
        )?;
        self.wait_until_up()
    }

    /// Freezes the server (SIGSTOP). Its sockets stay open and take bytes; nothing answers.
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the signal cannot be sent.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.signal("STOP")
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the signal cannot be sent.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.signal("CONT")
    }

    /// Runs one command over a connection of its own.
    ///
    /// # Errors
    ///
    /// [`ServerError::Command`] if there is no answer, or it is an error.
    pub fn run(&self, command: &Cmd) -> Result<Value, ServerError> {
        let ask = || {
            let client = redis::Client::open(self.connection_info()?)?;
            let mut connection = client.get_connection_with_timeout(COMMAND_TIMEOUT)?;
            connection.set_read_timeout(Some(COMMAND_TIMEOUT))?;
            connection.set_write_timeout(Some(COMMAND_TIMEOUT))?;
            command.query(&mut connection)
        };
        ask().map_err(|error: redis::RedisError| ServerError::Command {
            what: error.to_string(),
        })
    }

    fn connection_info(&self) -> redis::RedisResult<ConnectionInfo> {
        let address = match &self.endpoint {
            Endpoint::Port(port) => ConnectionAddr::Tcp(Ipv4Addr::LOCALHOST.to_string(), *port),
            Endpoint::Socket(path) => ConnectionAddr::Unix(path.clone()),
        };
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.options.password {
            login = login.set_password(password);
        }
        Ok(address.into_connection_info()?.set_redis_settings(login))
    }

    fn signal(&self, signal: &str) -> Result<(), ServerError> {
        // `kill` is built into every shell; there may be no program of that name.
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$0" "$1""#, signal])
            .arg(self.pid().to_string())
            .status()?;
        if sent.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("kill -s {signal} failed: {sent}")).into())
    }

    /// Waits until the server answers, and it is ours that answers: its port may be another's.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for a process, which lives in real time"
    )]
    fn wait_until_up(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let ours = format!("process_id:{}\r\n", self.pid());
        let mut info = redis::cmd("INFO");
        info.arg("server");
        loop {
            let answer = self.run(&info);
            if let Ok(Value::BulkString(text)) = &answer
                && String::from_utf8_lossy(text).contains(&ours)
            {
                return Ok(());
            }
            let path = || self.binary.path.clone();
            if let Some(status) = self.process.server.try_wait()? {
                let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
                return Err(ServerError::Exited {
                    path: path(),
                    status,
                    log: last_line(&log).to_owned(),
                });
            }
            if Instant::now() >= deadline {
                return Err(ServerError::Silent {
                    path: path(),
                    after: START_TIMEOUT,
                    what: format!("{answer:?}"),
                });
            }
            thread::sleep(START_POLL);
        }
    }
}

impl Binary {
    /// The maker of the server at `path`, if it runs here.
    fn identify(path: &Path) -> Option<Self> {
        let output = Command::new(path).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (kind, rest) = text.split_once(" server v=")?;
        let kind = match kind {
            "Redis" => Kind::Redis,
            "Valkey" => Kind::Valkey,
            _ => return None,
        };
        Some(Self {
            kind,
            version: rest.split_whitespace().next()?.to_owned(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.version)
    }
}

/// A server process, and the shell that kills it should we be gone first.
#[derive(Debug)]
struct Process {
    server: Child,
    watchdog: Child,
}

impl Process {
    fn start(
        binary: &Binary,
        options: &ServerOptions,
        endpoint: &Endpoint,
        directory: &Path,
    ) -> Result<Self, ServerError> {
        let log = File::create(directory.join(LOG))?;
        let mut command = Command::new(&binary.path);
        if let Some(lines) = &options.sentinel {
            // A sentinel writes down what it learns.
            let file = directory.join("sentinel.conf");
            let lines = lines.iter().map(|line| format!("sentinel {line}"));
            let lines = lines.collect::<Vec<_>>().join("\n");
            fs::write(&file, lines)?;
            command.arg(file).arg("--sentinel");
        }
        match endpoint {
            Endpoint::Port(port) => command.arg("--port").arg(port.to_string()),
            Endpoint::Socket(path) => command.args(["--port", "0", "--unixsocket"]).arg(path),
        };
        command
            .args(["--bind", "127.0.0.1", "--daemonize", "no"])
            .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
            .arg("--dir")
            .arg(directory);
        if let Some(password) = &options.password {
            command.arg("--requirepass").arg(password);
        }
        let mut server = command
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| ServerError::Spawn {
                path: binary.path.clone(),
                what: error.to_string(),
            })?;
        match watchdog(server.id(), directory) {
            Ok(watchdog) => Ok(Self { server, watchdog }),
            Err(error) => {
                end(&mut server);
                Err(error.into())
            }
        }
    }

    /// The watchdog goes first: once the server is waited for, its id may be another's.
    fn kill(&mut self) {
        end(&mut self.watchdog);
        end(&mut self.server);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills process `pid` and removes `directory` when the pipe to the watchdog closes, which it does
/// however we die. (The kernel's own means, `PR_SET_PDEATHSIG`, needs `unsafe`, and fires when the
/// starting *thread* ends.)
fn watchdog(pid: u32, directory: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -s KILL "$0"; rm -r "$1""#])
        .arg(pid.to_string())
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Kills and waits. Does nothing to a child that was waited for.
fn end(child: &mut Child) {
    // Both fail only if the child is gone, which is what we want.
    let _ = child.kill();
    let _ = child.wait();
}

/// No server to use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// There is no server program here.
    #[error(
        "no Redis or Valkey server found on the PATH or in target/tools/; run ./scripts/server.sh \
         to get one, or set LEASEHOLD_REDIS_SERVER"
    )]
    Missing,
    /// The program named is no server, or does not run here.
    #[error("LEASEHOLD_REDIS_SERVER: {path:?} is not a Redis or Valkey server that runs here")]
    NotAServer {
        /// The program.
        path: PathBuf,
    },
    /// It could not be started.
    #[error("cannot start {path:?}: {what}")]
    Spawn {
        /// The program.
        path: PathBuf,
        /// The system's error.
        what: String,
    },
    /// It ended before it answered.
    #[error("{path:?} ended at once ({status}): {log}")]
    Exited {
        /// The program.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last line of its log.
        log: String,
    },
    /// It runs but does not answer.
    #[error("{path:?} did not answer within {after:?}: {what}")]
    Silent {
        /// The program.
        path: PathBuf,
        /// How long it was given.
        after: Duration,
        /// The last thing tried.
        what: String,
    },
    /// A command failed.
    #[error("command failed: {what}")]
    Command {
        /// The message of the server or the system.
        what: String,
    },
    /// The system refused a file, a port or a signal.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn usual_places() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = env::split_paths(&path).collect();
    let mut places = Vec::new();
    for name in ["valkey-server", "redis-server"] {
        places.extend(directories.iter().map(|directory| directory.join(name)));
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    places.push(tools.join("valkey/valkey-server"));
    places.push(tools.join("redis/redis-server"));
    places.retain(|place| place.is_file());
    places
}

pub(crate) fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().next_back().unwrap_or_default()
}

const SERVER_VARIABLE: &str = "LEASEHOLD_REDIS_SERVER";
const REQUIRE_VARIABLE: &str = "LEASEHOLD_REQUIRE_REDIS";
const LOG: &str = "server.log";
/// A port taken from under us is rare; four in a row mean that the server will not start at all.
const PORT_RETRIES: u32 = 3;
/// A server takes some 10 ms; a loaded machine more.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(5);
/// So that a frozen server cannot hang its caller.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_server_is_empty_and_in_the_same_place() {
        for binary in LocalServer::find_or_skip() {
            for unix_socket in [false, true] {
                let options = ServerOptions {
                    binary: Some(binary.clone()),
                    unix_socket,
                    ..ServerOptions::default()
                };
                let mut server = LocalServer::start(&options).unwrap();
                let (url, pid) = (server.url(), server.pid());
                server.run(redis::cmd("SET").arg("key").arg(1)).unwrap();
                server.restart().unwrap();
                assert_eq!(server.url(), url);
                assert_ne!(server.pid(), pid);
                assert_eq!(server.run(&redis::cmd("DBSIZE")).unwrap(), Value::Int(0));
            }
        }
    }

    #[test]
    fn a_server_that_will_not_start_says_why() {
        for binary in LocalServer::find_or_skip() {
            let options = ServerOptions {
                binary: Some(binary),
                arguments: vec!["--no-such-option".to_owned(), "1".to_owned()],
                ..ServerOptions::default()
            };
            let error = LocalServer::start(&options).unwrap_err();
            assert!(matches!(error, ServerError::Exited { .. }), "{error}");
            assert!(error.to_string().contains("Bad directive"), "{error}");
        }
    }

    /// Leaked servers would fill a machine on which tests are aborted now and then.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for a process, which lives in real time"
    )]
    fn a_server_dies_with_the_process_that_started_it() {
        const NAME: &str = "server::tests::a_server_dies_with_the_process_that_started_it";
        const ABANDON: &str = "LEASEHOLD_TEST_ABANDON";

        if let Some(note) = env::var_os(ABANDON) {
            let server = LocalServer::start(&ServerOptions::default()).unwrap();
            let Endpoint::Port(port) = server.endpoint else {
                unreachable!("no socket was asked for")
            };
            let remains = format!("{port} {}", server.directory.path().display());
            fs::write(note, remains).unwrap();
            std::process::abort();
        }
        if LocalServer::find_or_skip().is_empty() {
            return;
        }
        let notes = TempDir::new().unwrap();
        let note = notes.path().join("note");
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(ABANDON, &note)
            .output()
            .unwrap();
        let remains = fs::read_to_string(note).expect("it got as far as that");
        let (port, directory) = remains.split_once(' ').unwrap();
        let port: u16 = port.parse().unwrap();
        assert!(!output.status.success(), "it was aborted");
        let deadline = Instant::now() + Duration::from_secs(5);
        let listens = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        while listens() || Path::new(directory).exists() {
            assert!(Instant::now() < deadline, "the server lives on");
            thread::sleep(START_POLL);
        }
    }

    #[test]
    fn a_password_survives_the_url() {
        assert_eq!(percent_encoded("aZ0-_"), "aZ0-_");
        assert_eq!(percent_encoded("a/b@c é"), "a%2Fb%40c%20%C3%A9");
    }
}
