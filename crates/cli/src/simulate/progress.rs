//! Live progress on a terminal, and in the end how long it took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use indicatif::{ProgressBar, ProgressStyle};
use leasehold_sim::report::Run;

use super::number;

pub(crate) struct Progress {
    bar: ProgressBar,
    requests: AtomicU64,
}

impl Progress {
    pub(crate) fn start(runs: usize) -> Self {
        // Hidden by itself where the error stream is no terminal.
        let bar = ProgressBar::new(runs as u64);
        let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} runs  {elapsed}  {msg}");
        bar.set_style(style.expect("the template is ours").progress_chars("=> "));
        Self {
            bar,
            requests: AtomicU64::new(0),
        }
    }

    /// A run is finished; any thread may say so.
    pub(crate) fn count(&self, run: &Run) {
        let before = self.requests.fetch_add(run.summary.requests, Relaxed);
        let requests = before + run.summary.requests;
        self.bar
            .set_message(format!("{} requests", number::many(requests)));
        self.bar.inc(1);
    }

    /// All runs are over; if all went well, a line says how fast they were.
    pub(crate) fn finish(&self, well: bool, threads: usize) {
        let seconds = self.bar.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        if !well {
            return;
        }
        let requests = self.requests.load(Relaxed);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "shown with three digits"
        )]
        let rate = (requests as f64 / seconds.max(1e-9)) as u64;
        anstream::eprintln!(
            "{} requests in {seconds:.1} s on {}: {} requests/s",
            number::many(requests),
            number::plural(threads, "thread"),
            number::many(rate)
        );
    }
}
