//! A forked child of a process has nothing of its parent's leases.
//!
//! 64 children spent what their parent held, each for itself: 237 637 tokens of 100 365.
#![cfg(target_os = "linux")]
#![expect(
    unsafe_code,
    reason = "`fork` is an unsafe function: only the calling thread lives on in the child"
)]

use std::future::Future;
use std::io::{PipeReader, Read};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leasehold::{
    KeyHandle, KeyRef, Limiter, MemoryStore, Reason, Retry, TaskState, Tuning, Verdict,
};
use tokio::runtime::Runtime;

/// Tokens that the parent has leased at least, and each child would like to spend.
const HELD: u32 = 20_000;
const CHILDREN: usize = 64;

/// A process that has leased tokens of Alice's.
struct Parent {
    limiter: Limiter,
    handle: KeyHandle,
    runtime: Runtime,
}

impl Parent {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_time();
        Self::on(runtime.build().expect("a runtime"))
    }

    fn on(runtime: Runtime) -> Self {
        let limiter = runtime.block_on(async {
            let limiter = limiter(&Arc::new(MemoryStore::new()));
            while limiter.stats().tokens.held() < u64::from(HELD) {
                let _ = limiter.try_acquire(ALICE, HELD * 2);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            limiter
        });
        let handle = limiter.handle(ALICE);
        Self {
            limiter,
            handle,
            runtime,
        }
    }

    /// Tries to spend all that is held, in each way there is.
    fn spend(&mut self) -> u64 {
        let mut spent = 0;
        for _ in 0..HELD / 4 {
            let one = self.limiter.try_acquire(ALICE, 1);
            let other = self.handle.try_acquire(1);
            let all = self.limiter.try_acquire_all(&[(ALICE, 1)]);
            let waits = at_once(self.limiter.acquire(ALICE, 1));
            let waits = waits.map(|verdict| verdict.is_allowed());
            let allowed = [one, other, all].map(|verdict| verdict.is_allowed());
            spent += allowed.into_iter().chain(waits).map(u64::from).sum::<u64>();
        }
        spent
    }
}

fn limiter(store: &Arc<MemoryStore>) -> Limiter {
    let mut tuning = Tuning::default();
    tuning.lease_max = PATIENCE;
    tuning.lease_min = PATIENCE;
    Limiter::builder()
        .limit("api", "1/h burst 100000 advance 4000")
        .store(Arc::clone(store))
        .tuning(tuning)
        .budget(PATIENCE)
        .build()
        .expect("the settings are sound")
}

#[test]
fn forked_children_spend_none_of_what_their_parent_leased() {
    let mut parent = Parent::new();
    let children: Vec<_> = (0..CHILDREN)
        .map(|_| in_child(fork, || parent.spend()))
        .collect();
    let spent: u64 = children.into_iter().map(answer).sum();
    assert_eq!(spent, 0, "by {CHILDREN} children");
    assert!(parent.spend() >= u64::from(HELD) / 2, "the parent goes on");
}

/// A language's runtime, or a container's, may not go through the C library.
#[test]
fn a_child_that_no_library_made_spends_nothing_either() {
    let mut parent = Parent::new();
    let child = in_child(clone, || {
        let spends = (0..HELD).filter(|_| parent.limiter.try_acquire(ALICE, 1).is_allowed());
        spends.count() as u64
    });
    assert_eq!(answer(child), 0);
    assert!(parent.spend() > 0, "the parent goes on");
}

#[test]
fn a_child_is_told_why_and_does_not_wait() {
    let parent = Parent::new();
    let child = in_child(fork, || {
        let limiter = parent.limiter.clone();
        let mut handle = parent.handle.clone();
        let bob = KeyRef::from("bob");
        let verdicts = [
            Some(limiter.try_acquire(ALICE, 1)),
            Some(limiter.try_acquire(bob, 1)),
            Some(limiter.try_acquire_all(&[(ALICE, 1), (bob, 1)])),
            Some(handle.try_acquire(1)),
            at_once(limiter.acquire(ALICE, 1)),
            at_once(limiter.acquire(bob, 1)),
            at_once(handle.acquire(1)),
            at_once(limiter.acquire_all(&[(ALICE, 1), (bob, 1)])),
        ];
        let right = verdicts
            .iter()
            .filter(|verdict| is_forked(verdict.as_ref()));
        let mut right = right.count() as u64;
        right += u64::from(at_once(limiter.shutdown()) == Some(Ok(())));
        right += u64::from(limiter.health().task == TaskState::Forked);
        right += u64::from(at_once(limiter.peek(ALICE)).is_some_and(|peek| peek.is_err()));
        let Parent {
            limiter: inherited,
            handle: other,
            runtime,
        } = parent;
        // Tokio waits for threads that are not there.
        std::mem::forget(runtime);
        drop((limiter, handle, inherited, other));
        right
    });
    assert_eq!(answer(child), 11);
}

fn is_forked(verdict: Option<&Verdict>) -> bool {
    let denial = verdict.and_then(Verdict::denial);
    denial.is_some_and(|it| it.reason == Reason::Forked && it.retry == Retry::Never)
}

#[test]
fn a_limiter_built_in_a_child_works_and_its_own_children_have_nothing_of_it() {
    let parent = Parent::new();
    let child = in_child(fork, || {
        let mut own = Parent::on(current_thread());
        let grandchild = in_child(fork, || own.spend());
        let inherited = u64::from(parent.limiter.try_acquire(ALICE, 1).is_allowed());
        let spent = own.spend();
        let mistakes = answer(grandchild) + inherited;
        if mistakes > 0 { 0 } else { spent }
    });
    assert!(answer(child) >= u64::from(HELD) / 2);
}

/// The child goes on in the runtime that it has a copy of, where the background task sends and
/// gives back in the parent's name.
#[test]
fn a_child_that_goes_on_in_its_parents_runtime_leaves_its_leases_alone() {
    let parent = Parent::on(current_thread());
    let limiter = &parent.limiter;
    let child = parent.runtime.block_on(async {
        let batches = limiter.stats().batches;
        // In the child this returns as in the parent, and so the rest is run by either.
        let child = in_child_async(async || {
            let verdict = limiter.acquire("bob", 1).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let ended = limiter.shutdown().await;
            let sent = limiter.stats().batches - batches;
            u64::from(is_forked(Some(&verdict)) && ended.is_ok() && sent == 0)
        });
        child.await
    });
    assert_eq!(answer(child), 1);
    let shut = parent.runtime.block_on(limiter.shutdown());
    shut.expect("what is leased is still there to be given back");
}

fn current_thread() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().expect("a runtime")
}

/// The output of a future that waits for nothing.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// A child process, and where it writes its answer.
struct Child(PipeReader, libc::pid_t);

/// Runs `work` in a child that `make` makes.
fn in_child(make: fn() -> libc::pid_t, work: impl FnOnce() -> u64) -> Child {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    match make() {
        0 => tell(writer.as_raw_fd(), work()),
        pid => Child(reader, pid),
    }
}

async fn in_child_async(work: impl AsyncFnOnce() -> u64) -> Child {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    match fork() {
        0 => tell(writer.as_raw_fd(), work().await),
        pid => Child(reader, pid),
    }
}

fn tell(pipe: libc::c_int, answer: u64) -> ! {
    let answer = answer.to_ne_bytes();
    // SAFETY: the bytes live, and are as many as is said.
    let _ = unsafe { libc::write(pipe, answer.as_ptr().cast(), answer.len()) };
    // SAFETY: it ends the process without a way back.
    unsafe { libc::_exit(0) }
}

/// Waits for what the child has to say.
fn answer(Child(mut reader, pid): Child) -> u64 {
    let mut answer = [0; 8];
    let read = reader.read_exact(&mut answer);
    // SAFETY: it is our child, and no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    read.expect("the child did not end before it answered");
    u64::from_ne_bytes(answer)
}

fn fork() -> libc::pid_t {
    // SAFETY: the child goes on in this thread alone, and ends by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    pid
}

fn clone() -> libc::pid_t {
    // SAFETY: as for `fork`, without the C library's part: the child must not allocate.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    assert!(pid >= 0, "clone");
    libc::pid_t::try_from(pid).expect("a process id")
}

const ALICE: KeyRef<'_> = KeyRef {
    limit: leasehold::LimitId::FIRST,
    subject: b"alice",
};

/// Longer than all this takes.
const PATIENCE: Duration = Duration::from_secs(60);
