//! Judges of a limiter, from outside.
//!
//! # Invariant
//!
//! This crate shares no code with the limiter, not even the arithmetic: a mistake there must not
//! excuse itself here. It depends on nothing of the limiter, and what it counts is exact.
//!
//! - [`Judgement`]: judges a run by its [`record`]s, each a request between two readings of the
//!   clock. [`mod@ideal`] answers the same requests without delay; [`overshoot`] finds the worst
//!   window although nobody knows where between the readings a decision fell.
//! - [`Judge`]: judges a run while it goes on, keeps no records, and is told every instant.
//! - [`VirtualQueue`]: what both find overshoot by; [`IdealBucket`]: what both compare with.
//!
//! Where there is no doubt about instants, both judges give the same answer: a test says so.

mod demand;
pub mod ideal;
mod judgement;
mod level;
mod limit;
mod live;
pub mod overshoot;
pub mod record;
mod tally;

pub use self::demand::Demand;
pub use self::judgement::{Arrivals, Judgement};
pub use self::level::{IdealBucket, Level, VirtualQueue};
pub use self::limit::{ExactTokens, JudgedLimit, LIMIT_MOST, LimitError};
pub use self::live::{
    Arrived, Convergence, Deficit, Fairness, Findings, Judge, JudgeSetup, LimitFindings,
    PeakSecond, Promised, SLICE_NS, Series, Spend, Starvation, WorstWindow,
};
pub use self::tally::{Tally, Volumes};
