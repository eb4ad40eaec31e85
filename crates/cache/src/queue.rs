//! The bounded queue of signals: crossbeam's, or a stand-in that loom can look into.

#[cfg(not(leasehold_loom))]
pub(crate) use crossbeam_queue::ArrayQueue;

#[cfg(leasehold_loom)]
pub(crate) use stand_in::ArrayQueue;

/// The three methods in use, behind a lock. It orders pushes and pops more strictly than
/// crossbeam's; what must hold without it is a thread that pushes nothing because the flag is up.
#[cfg(leasehold_loom)]
mod stand_in {
    use std::collections::VecDeque;

    use loom::sync::Mutex;

    #[derive(Debug)]
    pub(crate) struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self {
                items: Mutex::new(VecDeque::new()),
                capacity,
            }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().expect("no thread panics with it");
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            let mut items = self.items.lock().expect("no thread panics with it");
            items.pop_front()
        }
    }
}
