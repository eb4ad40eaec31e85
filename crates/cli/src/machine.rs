//! The machine that something is measured on.

use std::fs;

use serde::Serialize;

/// The machine's cores, and how busy it was before: the simulator does not model a busy machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    /// Processes that ran or wanted to, mean of the last minute, before the first run. Where
    /// the system tells.
    pub(crate) load_before: Option<f64>,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split(' ').next()?.parse().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load,
        }
    }
}
