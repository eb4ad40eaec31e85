//! Keeps threads where they are: each on a processor of its own, where the system lets one choose.
//!
//! Two threads that share a processor take turns and never meet on a cache line. Where nothing can
//! be chosen the system decides, and the spread tells.

/// Those on which this process may run.
#[derive(Clone, Debug)]
pub struct Processors(Vec<usize>);

#[cfg(target_os = "linux")]
mod linux {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::Processors;

    impl Processors {
        /// The processors that this process may use.
        pub fn ours() -> Self {
            let given = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
            Self(
                (0..CpuSet::MAX_CPU)
                    .filter(|&number| given.is_set(number))
                    .collect(),
            )
        }

        /// Keeps the calling thread, of so many the `number`th, on one processor.
        pub fn keep(&self, number: usize) {
            if self.0.is_empty() {
                return;
            }
            let mut one = CpuSet::new();
            one.set(self.0[number % self.0.len()]);
            let _ = sched_setaffinity(None, &one);
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Processors {
    /// Nothing to choose from.
    pub fn ours() -> Self {
        Self(Vec::new())
    }

    /// Leaves the calling thread where it is.
    pub fn keep(&self, _number: usize) {}
}

impl Processors {
    /// How many there are; 0 if there is no choice.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_the_processor_that_it_was_given() {
        let processors = Processors::ours();
        assert!(processors.count() > 0);
        for number in 0..processors.count() {
            std::thread::scope(|scope| {
                let kept = scope.spawn(|| {
                    processors.keep(number);
                    Processors::ours().0
                });
                assert_eq!(kept.join().unwrap(), [processors.0[number]]);
            });
        }
    }
}
