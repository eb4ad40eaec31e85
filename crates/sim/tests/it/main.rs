//! What the simulator promises as a whole: runs that repeat, scenarios that can be run, one
//! definition of the limiter, agreement with closed forms, and laws that every run must obey.

mod catalogue;
mod closed_forms;
mod lab;
mod laws;
mod one_definition;
mod replay;
