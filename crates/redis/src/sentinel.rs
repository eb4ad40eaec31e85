//! The questions to a sentinel, and to the server that it names.
//!
//! # Invariant
//!
//! An answer is input: one that makes no sense is a fault of that sentinel, and the next is asked.

use redis::{Cmd, RedisConnectionInfo, Value};
use tokio::time::Instant;

use crate::connect::{Driver, Target, driven, reach, within};
use crate::error::{ConnectFault, LinkError, Stage};
use crate::settings::{Place, Settings};
use crate::wire::Wire;

/// A sentinel's answer about a primary.
#[derive(Debug)]
pub(crate) enum Told {
    /// The primary is at this place.
    Primary(Place),
    /// The sentinel does not watch this primary, but watches those in `known`.
    Unknown { known: String },
}

/// Asks the sentinel at `place` where the primary called `master` is.
pub(crate) async fn ask(
    settings: &Settings,
    place: &Place,
    master: &str,
) -> Result<Told, ConnectFault> {
    let deadline = Instant::now() + settings.connect_timeout;
    let login = login(settings);
    let (wire, mut driver) = reach(settings, Target::Tcp(place), &login, deadline).await?;
    let asking = driven(&mut driver, asking(&wire, master));
    within(deadline, Stage::Routing, settings, asking).await
}

async fn asking(wire: &Wire, master: &str) -> Result<Told, ConnectFault> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    match said(wire, &command).await? {
        Value::Nil => {
            let mut command = redis::cmd("SENTINEL");
            // The names only make the error clearer.
            let known = said(wire, command.arg("MASTERS")).await.ok();
            Ok(Told::Unknown {
                known: known.map_or_else(|| "they do not say".to_owned(), |known| names(&known)),
            })
        }
        Value::Array(values) => match <[Value; 2]>::try_from(values) {
            Ok([Value::BulkString(host), Value::BulkString(port)]) => place(&host, &port),
            _ => Err(nonsense("an address that is none")),
        },
        other => Err(nonsense(&format!("{other:?}"))),
    }
}

/// Checks that the server says that it is a primary.
pub(crate) async fn check_role(
    settings: &Settings,
    wire: &Wire,
    driver: &mut Driver,
    deadline: Instant,
) -> Result<(), ConnectFault> {
    let step = driven(driver, async {
        let answer = said(wire, &redis::cmd("ROLE")).await?;
        let role = match &answer {
            Value::Array(values) => values.first().and_then(text),
            _ => None,
        };
        match role {
            Some("master") => Ok(()),
            Some(role) => Err(ConnectFault::NotPrimary {
                role: role.to_owned(),
            }),
            None => Err(nonsense("a role that is none")),
        }
    });
    within(deadline, Stage::Routing, settings, step).await
}

async fn said(wire: &Wire, command: &Cmd) -> Result<Value, ConnectFault> {
    wire.query(command).await.map_err(|error| match error {
        LinkError::Refused { code, detail } => ConnectFault::Rejected { code, detail },
        LinkError::TimedOut { after } => ConnectFault::TimedOut {
            after,
            stage: Stage::Routing,
        },
        error => ConnectFault::NotRedis {
            what: error.to_string(),
        },
    })
}

fn login(settings: &Settings) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default();
    if let Some(credentials) = &settings.sentinel_credentials {
        login = login.set_password(&credentials.password);
        if let Some(username) = &credentials.username {
            login = login.set_username(username);
        }
    }
    login
}

fn place(host: &[u8], port: &[u8]) -> Result<Told, ConnectFault> {
    let port = str::from_utf8(port).ok().and_then(|port| port.parse().ok());
    match (str::from_utf8(host), port) {
        (Ok(host), Some(port)) if !host.is_empty() && port != 0 => Ok(Told::Primary(Place {
            host: host.to_owned(),
            port,
        })),
        _ => Err(nonsense("an address that is none")),
    }
}

/// The names in the answer to `SENTINEL MASTERS`: a list of lists of names and values.
fn names(masters: &Value) -> String {
    let Value::Array(masters) = masters else {
        return "they do not say".to_owned();
    };
    let name = |fields: &Value| match fields {
        Value::Array(fields) => fields
            .chunks_exact(2)
            .find(|pair| text(&pair[0]) == Some("name"))
            .and_then(|pair| text(&pair[1]).map(str::to_owned)),
        _ => None,
    };
    let names: Vec<String> = masters.iter().filter_map(name).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn nonsense(what: &str) -> ConnectFault {
    ConnectFault::NotRedis {
        what: format!("it said {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_makes_no_sense_is_a_fault() {
        assert!(matches!(place(b"::1", b"6379"), Ok(Told::Primary(_))));
        for (host, port) in [
            (&b""[..], &b"6379"[..]),
            (b"h", b"0"),
            (b"h", b"65536"),
            (b"h", b""),
            (b"\xff", b"1"),
        ] {
            assert!(place(host, port).is_err(), "{host:?} {port:?}");
        }
    }
}
