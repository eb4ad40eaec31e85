//! Points in time, as plain numbers that the caller brings along.
//!
//! Nothing here reads a clock. A replica counts nanoseconds from an origin its driver chose; the
//! store counts microseconds on its own clock. The two are different types because subtracting
//! one from the other means nothing: no clock is ever compared with another machine's.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A point on one replica's monotonic clock: nanoseconds since an origin its driver chose.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(u64);

impl Instant {
    /// The driver's origin.
    pub const ORIGIN: Self = Self(0);
    /// Later than any reading.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, or zero if `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// Nanoseconds since `earlier`, or zero if `earlier` is later.
    #[inline]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR_FUTURE`].
    #[inline]
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// A point on the store's clock, in microseconds: for Redis, what `TIME` says.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StoreTime(u64);

impl StoreTime {
    /// Before any reading; also stands for "never".
    pub const ZERO: Self = Self(0);

    /// The point `micros` microseconds after the store's epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the store's epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

impl Add<Micros> for StoreTime {
    type Output = Self;

    fn add(self, micros: Micros) -> Self {
        Self(self.0.saturating_add(micros.0))
    }
}

/// A span on the store's clock, in whole microseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Micros(pub u64);

impl Micros {
    /// `duration` in whole microseconds, rounded up.
    pub fn from_duration(duration: Duration) -> Self {
        let micros = duration.as_nanos().div_ceil(1000);
        Self(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The span as a [`Duration`].
    pub const fn as_duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}
