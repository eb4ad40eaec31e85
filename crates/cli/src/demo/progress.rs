//! Live progress on a terminal; nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{note, progress_bar};
use leasehold_judge::record::Record;

pub(crate) struct Progress {
    bar: ProgressBar,
    seen: usize,
    admitted: u64,
}

impl Progress {
    /// Begins to show a run of that name, which will take so long.
    pub(crate) fn start(name: &str, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let bar = progress_bar(Some(millis));
        let style = ProgressStyle::with_template("{prefix:8} [{bar:30}] {elapsed:>4}  {msg}");
        bar.set_style(style.expect("the template is ours").progress_chars("=> "));
        bar.set_prefix(name.to_owned());
        Self {
            bar,
            seen: 0,
            admitted: 0,
        }
    }

    pub(crate) fn show(&mut self, records: &[Record]) {
        let admitted = records[self.seen..]
            .iter()
            .filter(|record| record.admitted)
            .count();
        self.admitted += admitted as u64;
        self.seen = records.len();
        let elapsed: Duration = self.bar.elapsed();
        self.bar
            .set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        self.bar.set_message(format!(
            "{} requests, {} admitted",
            self.seen, self.admitted
        ));
    }

    /// A line that stays.
    pub(crate) fn note(&self, line: &str) {
        self.bar.suspend(|| note(&format!("note: {line}")));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
