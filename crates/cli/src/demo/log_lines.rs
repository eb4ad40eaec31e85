//! How much this process would write to its log at the usual level, information and worse.
//!
//! What is counted are the lines themselves, formatted as they would be printed, whatever is
//! really shown.

use std::io::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt};

/// Counts the lines of this process from now on.
pub(crate) fn counter<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer().with_ansi(false).with_writer(|| Counter);
    layer.with_filter(LevelFilter::INFO)
}

/// Lines so far.
pub(crate) fn count() -> u64 {
    LINES.load(Relaxed)
}

struct Counter;

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = bytes.split(|&byte| byte == b'\n').count() - 1;
        LINES.fetch_add(lines as u64, Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static LINES: AtomicU64 = AtomicU64::new(0);
