//! One attempt to connect to one server: open a socket, secure it if asked to, shake hands.
//!
//! # Invariant
//!
//! The attempt ends by its deadline. A [`Wire`] comes out only if the server answered as Redis does
//! and accepted the login. Over TLS nothing is sent before the server has shown its certificate.
//!
//! The handshake is ours and not the client library's, because the library hides the server's
//! message about a password. We open the socket so that we may drive the connection ourselves: the
//! driver ends when the peer closes, so a loss is noticed at once and not by the next request.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::error::{ConnectFault, LinkError, Stage};
use crate::settings::{Place, Settings};
use crate::tls::{TlsFault, TlsSettings};
use crate::wire::Wire;

/// Moves bytes for a [`Wire`]. Ends when the connection is closed; dropping it closes it.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The commands that the owner of a link sends first on each new connection: load a
/// script, say, or learn which server this is. An error counts as a failed attempt to connect.
///
/// `()` does nothing.
pub trait Greeting: Send + Sync + 'static {
    /// Greets the server at the other end of `wire`, within what is left of the connect timeout.
    fn greet(&self, wire: &Wire) -> impl Future<Output = Result<(), LinkError>> + Send;
}

impl Greeting for () {
    async fn greet(&self, _: &Wire) -> Result<(), LinkError> {
        Ok(())
    }
}

impl<G: Greeting> Greeting for std::sync::Arc<G> {
    async fn greet(&self, wire: &Wire) -> Result<(), LinkError> {
        G::greet(self, wire).await
    }
}

/// Connects to the server at `target` and logs in.
pub(crate) async fn reach(
    settings: &Settings,
    target: Target<'_>,
    login: &RedisConnectionInfo,
    deadline: Instant,
) -> Result<(Wire, Driver), ConnectFault> {
    let opened = within(deadline, Stage::Opening, settings, open(settings, target)).await?;
    let secured = secure(settings, target, opened);
    let socket = within(deadline, Stage::Securing, settings, secured).await?;
    let (wire, mut driver) = start(settings, socket).await?;
    let shake = driven(&mut driver, shake_hands(login, &wire));
    let shaken = within(deadline, Stage::Handshake, settings, shake).await;
    match shaken {
        Ok(()) => Ok((wire, driver)),
        // With TLS 1.3 the server may look at our certificate after our part of the handshake is
        // done. If it then closes the connection, its reason mostly does not reach us.
        Err(ConnectFault::NotRedis { what }) if settings.secure && wire.alive().is_err() => {
            Err(TlsFault::Unwelcome { what }.into())
        }
        Err(fault) => Err(fault),
    }
}

/// Greets the server that was reached, on its way to being used.
pub(crate) async fn greet(
    settings: &Settings,
    wire: &Wire,
    driver: &mut Driver,
    greeting: &impl Greeting,
    deadline: Instant,
) -> Result<(), ConnectFault> {
    let greet = async { greeting.greet(wire).await.map_err(greeting_fault) };
    let greet = driven(driver, greet);
    within(deadline, Stage::Greeting, settings, greet).await
}

/// The address to connect to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    Tcp(&'a Place),
    Unix(&'a Path),
}

/// `step`, or a fault if it is not done at the deadline.
pub(crate) async fn within<T>(
    deadline: Instant,
    stage: Stage,
    settings: &Settings,
    step: impl Future<Output = Result<T, ConnectFault>>,
) -> Result<T, ConnectFault> {
    let after = settings.connect_timeout;
    let late = ConnectFault::TimedOut { after, stage };
    timeout_at(deadline, step).await.unwrap_or(Err(late))
}

/// Runs `step` while `driver` moves its bytes.
pub(crate) async fn driven<T>(
    driver: &mut Driver,
    step: impl Future<Output = Result<T, ConnectFault>>,
) -> Result<T, ConnectFault> {
    let mut step = pin!(step);
    tokio::select! {
        done = &mut step => done,
        () = driver => {
            // All answers that came are delivered by now; the error of the step is the most exact.
            step.await?;
            let what = "it closed the connection".to_owned();
            Err(ConnectFault::NotRedis { what })
        }
    }
}

enum Opened {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn open(settings: &Settings, target: Target<'_>) -> Result<Opened, ConnectFault> {
    if !settings.secure && settings.tls != TlsSettings::default() {
        return Err(TlsFault::NotAsked.into());
    }
    match target {
        Target::Tcp(Place { host, port }) => {
            let stream = open_tcp(host, *port).await?;
            tune(&stream, settings).map_err(|error| socket_fault(&error))?;
            Ok(Opened::Tcp(stream))
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            stream
                .map(Opened::Unix)
                .map_err(|error| socket_fault(&error))
        }
    }
}

#[cfg_attr(
    not(feature = "tls"),
    expect(clippy::unused_async, reason = "it awaits where there is TLS")
)]
async fn secure(
    settings: &Settings,
    target: Target<'_>,
    opened: Opened,
) -> Result<Box<dyn Socket>, ConnectFault> {
    match (opened, target) {
        #[cfg(feature = "tls")]
        (Opened::Tcp(stream), Target::Tcp(place)) if settings.secure => {
            let secured = crate::tls::secured(stream, &place.host, &settings.tls).await?;
            Ok(Box::new(secured))
        }
        // A URL that asks for TLS is refused where there is none.
        (Opened::Tcp(stream), _) => {
            debug_assert!(!settings.secure, "{target:?} was to be secured");
            Ok(Box::new(stream))
        }
        (Opened::Unix(stream), _) => Ok(Box::new(stream)),
    }
}

/// Connects to all addresses of `host` at once and takes the first that answers, because an address
/// that swallows packets must not use up the time of the others.
async fn open_tcp(host: &str, port: u16) -> Result<TcpStream, ConnectFault> {
    let unresolved = |what: String| ConnectFault::Name { what };
    let addresses = lookup_host((host, port)).await;
    let addresses = addresses.map_err(|error| unresolved(error.to_string()))?;
    let mut attempts: JoinSet<_> = addresses.map(TcpStream::connect).collect();
    let mut fault = unresolved("it has no address".to_owned());
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::from).flatten() {
            Ok(stream) => return Ok(stream),
            Err(error) => fault = socket_fault(&error),
        }
    }
    Err(fault)
}

fn tune(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keep_alive = TcpKeepalive::new()
        .with_time(settings.keep_alive_idle)
        .with_interval(settings.keep_alive_interval);
    socket.set_tcp_keepalive(&keep_alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(settings.user_timeout()))?;
    Ok(())
}

/// Makes a wire over `socket`. Sends nothing yet.
async fn start(
    settings: &Settings,
    socket: Box<dyn Socket>,
) -> Result<(Wire, Driver), ConnectFault> {
    let nothing = RedisConnectionInfo::default().set_skip_set_lib_name();
    // No timeout in the library: the wire has one.
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_concurrency_limit(REQUESTS_MAX)
        .set_pipeline_buffer_size(REQUESTS_MAX);
    let made = MultiplexedConnection::new_with_config(&nothing, socket, config).await;
    let (connection, driver) = made.map_err(|error| not_redis(&error))?;
    let wire = Wire::new(
        connection,
        settings.response_timeout,
        settings.timeouts_before_drop,
    );
    Ok((wire, Box::pin(driver)))
}

/// Logs in, selects the database, names this client and sends a `PING`, in one round trip.
async fn shake_hands(login: &RedisConnectionInfo, wire: &Wire) -> Result<(), ConnectFault> {
    let steps = handshake(login);
    let mut pipeline = Pipeline::new();
    for (_, command) in &steps {
        pipeline.add_command(command.clone());
    }
    let answers = wire.pipeline(&pipeline).await;
    let answers = answers.map_err(|error| match error {
        LinkError::TimedOut { after } => ConnectFault::TimedOut {
            after,
            stage: Stage::Handshake,
        },
        error => not_redis(&error),
    })?;
    for ((step, _), answer) in steps.into_iter().zip(answers) {
        match (step, answer) {
            (Step::Introduce, _) | (_, Ok(redis::Value::Okay)) => {}
            (step, Err(LinkError::Refused { code, detail })) => refused(step, code, detail)?,
            (_, Err(error)) => return Err(not_redis(&error)),
            (Step::Ping, Ok(redis::Value::SimpleString(pong))) if pong == "PONG" => {}
            // The answer is not shown, because it may repeat the password.
            (Step::LogIn, Ok(_)) => return Err(not_redis(&"its answer to AUTH is not OK")),
            (_, Ok(answer)) => return Err(not_redis(&format!("it said {answer:?}"))),
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Step {
    LogIn,
    Select,
    /// `CLIENT SETINFO`, which old servers do not know and no server needs.
    Introduce,
    Ping,
}

fn handshake(login: &RedisConnectionInfo) -> Vec<(Step, Cmd)> {
    let mut steps = Vec::new();
    if let Some(password) = login.password() {
        let mut command = redis::cmd("AUTH");
        command.arg(login.username()).arg(password);
        steps.push((Step::LogIn, command));
    }
    if login.db() != 0 {
        let mut command = redis::cmd("SELECT");
        command.arg(login.db());
        steps.push((Step::Select, command));
    }
    let mut command = redis::cmd("CLIENT");
    command.arg("SETINFO").arg("LIB-NAME").arg("leasehold");
    steps.push((Step::Introduce, command));
    steps.push((Step::Ping, redis::cmd("PING")));
    steps
}

fn refused(step: Step, code: String, detail: String) -> Result<(), ConnectFault> {
    match (step, code.as_str()) {
        // The server is there; its user just may not ping.
        (Step::Ping, "NOPERM") => Ok(()),
        (Step::LogIn, _) | (_, "NOAUTH" | "WRONGPASS") => Err(ConnectFault::Password {
            code,
            detail: without_arguments(&detail),
        }),
        _ => Err(ConnectFault::Rejected { code, detail }),
    }
}

/// `detail` without the arguments that a server repeats of a command it does not know: those of
/// AUTH have the password.
fn without_arguments(detail: &str) -> String {
    let shown = detail
        .split_once("with args")
        .map_or(detail, |(shown, _)| shown);
    shown.trim_end_matches([' ', ',']).to_owned()
}

fn greeting_fault(error: LinkError) -> ConnectFault {
    ConnectFault::Greeting(Box::new(error))
}

fn not_redis(what: &impl ToString) -> ConnectFault {
    let what = what.to_string();
    ConnectFault::NotRedis { what }
}

fn socket_fault(error: &io::Error) -> ConnectFault {
    match error.kind() {
        // A missing Unix socket means that no server runs.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ConnectFault::Refused,
        _ => ConnectFault::Unreachable {
            what: error.to_string(),
        },
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// The most requests in flight at once. The sync task needs a handful. Further requests wait,
/// within their timeout, so that they do not pile up at a server that is slow already.
const REQUESTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_set_to_notice_a_dead_peer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = open_tcp("127.0.0.1", address.port()).await.unwrap();
        let settings: Settings = "redis://localhost".parse().unwrap();
        tune(&stream, &settings).unwrap();
        assert!(stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        {
            let socket = SockRef::from(&stream);
            let idle = socket.tcp_keepalive_time().unwrap();
            assert_eq!(idle, settings.keep_alive_idle);
            let interval = socket.tcp_keepalive_interval().unwrap();
            assert_eq!(interval, settings.keep_alive_interval);
            let unacknowledged = socket.tcp_user_timeout().unwrap();
            assert_eq!(unacknowledged, Some(settings.user_timeout()));
        }
    }
}
