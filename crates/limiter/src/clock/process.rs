//! The process that a clock was started in, and whether this one is a forked child of it.
//!
//! # Invariant
//!
//! A child has a copy of all that its parent leased, and must spend none of it. Its first look at
//! the time on the request path finds that it is a child, and so does every later one.
//!
//! The counter's clock lies in a page of memory that the kernel wipes in a child
//! (`MADV_WIPEONFORK`), with a mark beside it. In a child both are zero: the counter's clock has no
//! reading to count from, so a request leaves the common path for another, and there the mark is
//! missed. The common path has no check for this, and no cost.
//!
//! The page is wiped by the kernel, whichever way a process comes to have a copy of its parent's
//! memory: `fork`, `clone` and `clone3` without `CLONE_VM`, by the C library or as raw system
//! calls. `vfork` and `posix_spawn` share the parent's memory instead of copying it, so nothing is
//! spent twice there. Where there is no such page (another system, a kernel that refuses), the
//! counter's clock is not used, and each reading of the time compares process ids.
//!
//! # Orderings
//!
//! `CURRENT` is stored with `Release` after its page was written, and loaded with `Acquire`. The
//! mark changes only while a process has one thread, in `fork`: `Relaxed`.

use std::process;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::tsc_clock::TscClock;

/// The process that a clock was started in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// `None` if no page is wiped on a fork.
    page: Option<&'static Page>,
    id: u32,
}

/// The page that a fork wipes. All zero is a value of each field.
#[derive(Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "no memory is wiped on a fork elsewhere")
)]
struct Page {
    /// [`ALIVE`], or 0 in a child.
    mark: AtomicU64,
    tsc: Option<TscClock>,
}

impl Process {
    /// This process. The first call in a process takes as long as `calibrate` does.
    pub(super) fn current(calibrate: impl FnOnce() -> Option<TscClock>) -> Self {
        let page = page::current(calibrate);
        let id = process::id();
        Self { page, id }
    }

    /// The counter's clock of this process, where the kernel trusts the counter.
    pub(super) fn tsc(self) -> Option<&'static TscClock> {
        self.page?.tsc.as_ref()
    }

    /// Whether this process is a forked child of the one meant.
    #[inline]
    pub(super) fn is_forked(self) -> bool {
        match self.page {
            Some(page) => page.is_wiped(),
            None => process::id() != self.id,
        }
    }
}

impl Page {
    #[inline]
    fn is_wiped(&self) -> bool {
        self.mark.load(Relaxed) != ALIVE
    }
}

/// Any number but 0.
const ALIVE: u64 = 0x6c69_7665;

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "memory that a fork wipes comes from the system by address. A check of the process id \
              on the request path would take a system call"
)]
mod page {
    use std::ptr;
    use std::sync::atomic::AtomicPtr;
    use std::sync::atomic::Ordering::{Acquire, Release};

    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

    use super::{ALIVE, AtomicU64, Page, TscClock};

    /// The page of this process, or of the one it was forked from; null before the first.
    static CURRENT: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());

    /// The page of this process, made if there is none. Threads that make one at a time make two,
    /// each of which will do.
    pub(super) fn current(calibrate: impl FnOnce() -> Option<TscClock>) -> Option<&'static Page> {
        // SAFETY: null, or a page from `map` that was written, and is never unmapped.
        let known = unsafe { CURRENT.load(Acquire).as_ref() };
        if let Some(page) = known.filter(|page| !page.is_wiped()) {
            return Some(page);
        }
        let page = map()?;
        let content = Page {
            mark: AtomicU64::new(ALIVE),
            tsc: calibrate(),
        };
        // SAFETY: the page is as large as `map` asked for, aligned, and nobody else knows of it.
        unsafe { page.write(content) };
        CURRENT.store(page, Release);
        // SAFETY: it was written, and is never unmapped. A fork changes it behind this reference,
        // in the child alone, to zeros, which are a value of each field. What the compiler may have
        // kept of the fields that are no atomics says nothing there: `TscClock::at` goes by
        // `good_until`, an atomic, and finds no reading.
        Some(unsafe { &*page })
    }

    /// Fresh memory for a page, which a fork wipes; `None` if the system has no such memory.
    fn map() -> Option<*mut Page> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: at an address of the kernel's choice, so it replaces no other memory.
        let page = unsafe { mmap_anonymous(ptr::null_mut(), size_of::<Page>(), access, flags) };
        let page = page.ok()?;
        // SAFETY: it was mapped just now, whole pages, and nothing refers to it.
        if unsafe { madvise(page, size_of::<Page>(), Advice::LinuxWipeOnFork) }.is_err() {
            // SAFETY: as above. If it fails, the memory stays, unused.
            let _ = unsafe { munmap(page, size_of::<Page>()) };
            return None;
        }
        Some(page.cast())
    }
}

#[cfg(not(target_os = "linux"))]
mod page {
    use super::{Page, TscClock};

    /// No memory is wiped on a fork here.
    pub(super) fn current(_: impl FnOnce() -> Option<TscClock>) -> Option<&'static Page> {
        None
    }
}
