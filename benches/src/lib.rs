//! Measurements of this limiter beside what the machine can do and what others do.
//!
//! One module a question: [`rivals`], what a decision costs; [`memory`], what a key costs;
//! [`end_to_end`], what a service gets on a real server. What they share: [`contenders`] are all
//! that is measured, behind one trait ([`contender`]); [`names`] the keys; [`ruler`] takes the
//! time; [`machine`] says on what, [`spread`] what several rounds came to, [`report`] and [`chart`]
//! how it is shown.

pub mod chart;
pub mod contender;
pub mod contenders;
pub mod end_to_end;
pub mod machine;
pub mod memory;
pub mod names;
pub mod processors;
pub mod report;
pub mod rivals;
pub mod ruler;
pub mod spread;
