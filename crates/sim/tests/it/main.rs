//! Promises of the simulator as a whole: runs that repeat, scenarios that can be run, one
//! definition of the limiter, agreement with closed forms, laws that every run must obey, and logs
//! that show that no token is lost or spent twice.

mod catalogue;
mod closed_forms;
mod conservation;
mod lab;
mod laws;
mod one_definition;
mod replay;
