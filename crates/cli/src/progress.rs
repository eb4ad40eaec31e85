//! Live progress of work that consists of many runs, and in the end how long they took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt;
use crate::output::{note, progress_bar};
use crate::simulate::number;

/// Progress of runs. A signal in the meantime ends the process, and says how far it got.
pub(crate) struct Progress {
    bar: ProgressBar,
    things: &'static str,
    requests: AtomicU64,
}

impl Progress {
    /// Begins to show the progress of `things`, of which there are so many, if that is known.
    pub(crate) fn start(things: &'static str, all: Option<u64>) -> Self {
        let bar = progress_bar(all);
        let template = match all {
            Some(_) => format!("[{{bar:30}}] {{pos}}/{{len}} {things}  {{elapsed}}  {{msg}}"),
            None => format!("{{spinner}} {{pos}} {things}  {{elapsed}}  {{msg}}"),
        };
        let style = ProgressStyle::with_template(&template);
        bar.set_style(style.expect("the template is ours").progress_chars("=> "));
        let counted = bar.clone();
        interrupt::last_words(move || {
            let of = all.map_or_else(String::new, |all| format!(" of {}", number::count(all)));
            let done = number::count(counted.position());
            format!("interrupted after {done}{of} {things}: there are no results of a part")
        });
        Self {
            bar,
            things,
            requests: AtomicU64::new(0),
        }
    }

    /// A run with so many requests is finished; any thread may say so.
    pub(crate) fn count(&self, requests: u64) {
        let all = self.requests.fetch_add(requests, Relaxed) + requests;
        if all > 0 {
            let requests = number::many(all);
            self.bar.set_message(format!("{requests} requests"));
        }
        self.bar.inc(1);
    }

    /// All runs are over; if all went well, a line says how fast they were.
    pub(crate) fn finish(&self, well: bool, threads: usize) {
        let seconds = self.bar.elapsed().as_secs_f64();
        let runs = number::count(self.bar.position());
        self.bar.finish_and_clear();
        if !well {
            return;
        }
        let requests = match self.requests.load(Relaxed) {
            0 => String::new(),
            requests => format!(", {} requests", number::many(requests)),
        };
        note(&format!(
            "{runs} {}{requests} in {seconds:.1} s on {}",
            self.things,
            number::plural(threads, "thread"),
        ));
    }
}
