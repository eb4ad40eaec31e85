//! Contenders: limiters that share a limit through one server, behind one way to ask.
//!
//! # Invariant
//!
//! Every contender is asked by the cheapest way that its documentation offers a service, with keys
//! in the form it wants, made before the clock starts. A failure counts as a denial: that is what
//! the service would see.

use std::future::Future;

use serde::Serialize;

use super::failure::Failure;
use crate::report::Kind;

pub mod centralised;
pub mod leased;
#[cfg(feature = "limitador-redis")]
pub mod limitador;
#[cfg(feature = "rivals")]
pub mod split;
#[cfg(feature = "rivals")]
pub mod trypema;

/// One instance of a limiter: what one process of a service would have, with its own connection.
pub trait Instance: Clone + Send + Sync + 'static {
    /// A key in the form in which this limiter is asked for it.
    type Key: Clone + Send + Sync + 'static;

    /// A key of that name.
    fn key(name: &str) -> Self::Key;

    /// Asks for one token.
    fn acquire(&self, key: &Self::Key) -> impl Future<Output = bool> + Send;

    /// Ends the instance as its documentation says; by default by dropping it.
    fn close(self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The settings of an instance.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The server.
    pub url: String,
    /// Keys of nobody else begin so.
    pub prefix: String,
    /// The limit of every key.
    pub limit: Nominal,
    /// How many instances share it.
    pub instances: u32,
}

/// A limit as all contenders are given it: so many a second, and a second's worth at once or less.
///
/// A window limiter has the burst of one window whatever stands here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Nominal {
    /// Tokens that are added in a second.
    pub per_second: u32,
    /// The most that may be used at once after a rest.
    pub burst: u32,
}

/// A contender by name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contender {
    /// Leases, as shipped.
    Leased,
    /// One script call per decision.
    Centralised,
    /// trypema's hybrid limiter with a window of one second.
    TrypemaSecond,
    /// trypema with a window of a minute.
    TrypemaMinute,
    /// limitador's cache over Redis, with a window of one second.
    Limitador,
    /// Each instance has an equal part of the limit and asks nobody.
    Split,
}

impl Contender {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 6] = [
        Self::Leased,
        Self::Centralised,
        Self::TrypemaSecond,
        Self::TrypemaMinute,
        Self::Limitador,
        Self::Split,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leased => "leasehold, leased",
            Self::Centralised => "centralised: EVALSHA, GCRA in one string",
            Self::TrypemaSecond => "trypema 2.2 hybrid, 10 ms, 1 s window",
            Self::TrypemaMinute => "trypema 2.2 hybrid, 10 ms, 60 s window",
            Self::Limitador => "limitador 0.14 cached, 1 s window",
            Self::Split => "floor: limit/N each, governor 0.10, no store",
        }
    }

    /// Its name in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Centralised => "centralised",
            Self::TrypemaSecond | Self::TrypemaMinute => "trypema",
            Self::Limitador => "limitador",
            Self::Split => "the floor",
        }
    }

    /// Whose it is.
    pub fn kind(self) -> Kind {
        match self {
            Self::Leased => Kind::Ours,
            Self::Split => Kind::Floor,
            _ => Kind::Rival,
        }
    }

    /// Whether this build has it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Leased | Self::Centralised => true,
            Self::TrypemaSecond | Self::TrypemaMinute | Self::Split => cfg!(feature = "rivals"),
            Self::Limitador => cfg!(feature = "limitador-redis"),
        }
    }

    /// The seconds of its window; none if it is a token bucket.
    pub fn window_s(self) -> Option<u32> {
        match self {
            Self::Leased | Self::Centralised | Self::Split => None,
            Self::TrypemaSecond | Self::Limitador => Some(1),
            Self::TrypemaMinute => Some(60),
        }
    }

    /// Whether every decision waits for the server, so that reading the clock twice is nothing.
    pub fn always_asks(self) -> bool {
        self == Self::Centralised
    }
}

/// Builds so many instances, one after the other.
///
/// # Errors
///
/// That of the first that cannot be built.
pub async fn build<I, F>(
    setting: &Setting,
    connect: impl Fn(Setting) -> F,
) -> Result<Vec<I>, Failure>
where
    F: Future<Output = Result<I, Failure>>,
{
    let mut instances = Vec::new();
    for _ in 0..setting.instances {
        instances.push(connect(setting.clone()).await?);
    }
    Ok(instances)
}
