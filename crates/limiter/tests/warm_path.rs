//! A decision on a warm key allocates nothing and makes no system call.
//!
//! A key is warm when tokens of it are leased here, or when it is known here that there are none.
//! The background task is not polled meanwhile, so whatever is counted is the request path's.
//!
//! The system calls are proved by the kernel: a process that may make none is ended by the first.
//! It is this program again, started by its own test.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use leasehold::{KeyRef, Limiter, Reason, Tuning};
use tokio::runtime::Runtime;

#[test]
fn a_warm_decision_allocates_nothing() {
    let warm = Warm::new();
    for (decision, decide) in DECISIONS {
        decide(&warm);
        let count = measure(|| (0..ROUNDS).for_each(|_| decide(&warm))).count_total;
        assert_eq!(
            count, 0,
            "{decision}: {count} allocations in {ROUNDS} decisions"
        );
    }
    let planted = measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(planted.count_total, 1, "allocations are counted");
}

/// A future is copied from where it is made to where it is awaited, whether it waits or not. This
/// one once took as much as all that waiting needs, and copying it a quarter of the time of a
/// decision.
#[test]
fn who_need_not_wait_carries_little() {
    let warm = Warm::new();
    let size = size_of_val(&warm.limiter.acquire(ALICE, 1));
    assert!(size <= 96, "{size} bytes");
    let size = size_of_val(&warm.limiter.handle(ALICE).acquire(1));
    assert!(size <= 96, "{size} bytes");
    let size = size_of_val(&warm.limiter.acquire_all(&[(ALICE, 1)]));
    assert!(size <= 96, "{size} bytes");
}

/// Keys of which one has tokens, a second has them too, and a third is used up.
struct Warm {
    limiter: Limiter,
    /// Keeps the background task, and does not poll it.
    _runtime: Runtime,
}

impl Warm {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().expect("a runtime");
        let limiter = runtime.block_on(async {
            let limiter = Limiter::builder()
                .limit("ample", "1000000/s burst 4000000")
                .limit("tight", "1/h")
                .tuning(long_leases())
                .budget(PATIENCE)
                .build()
                .expect("the settings are sound");
            for key in [ALICE, BOB] {
                // What is missed is sent for.
                while limiter.try_acquire(key, 1).held() < 8 * ROUNDS {
                    let _ = limiter.try_acquire(key, 1_000_000);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            let tight = limiter.limit_id("tight").expect("it is there");
            while limiter.acquire((tight, "carol"), 1).await.is_allowed() {}
            limiter
        });
        Self {
            limiter,
            _runtime: runtime,
        }
    }

    fn allow(&self) {
        assert!(self.limiter.try_acquire(ALICE, 1).is_allowed());
    }

    /// The way that most callers go: what is known is told at the first look.
    fn allow_who_would_wait(&self) {
        assert!(at_once(self.limiter.acquire(ALICE, 1)).is_allowed());
    }

    fn allow_all(&self) {
        let all = [(ALICE, 1), (BOB, 2)];
        assert!(self.limiter.try_acquire_all(&all).is_allowed());
    }

    fn deny(&self) {
        let tight = self.limiter.limit_id("tight").expect("it is there");
        let denial = self.limiter.try_acquire((tight, "carol"), 1).denial();
        assert_eq!(denial.map(|it| it.reason), Some(Reason::Exhausted));
    }

    fn deny_who_would_wait(&self) {
        let tight = self.limiter.limit_id("tight").expect("it is there");
        let denial = at_once(self.limiter.acquire((tight, "carol"), 1)).denial();
        assert_eq!(denial.map(|it| it.reason), Some(Reason::Exhausted));
    }

    fn deny_all(&self) {
        let tight = self.limiter.limit_id("tight").expect("it is there");
        let all = [(ALICE, 1), ((tight, "carol").into(), 1)];
        let denial = self.limiter.try_acquire_all(&all).denial();
        assert_eq!(denial.map(|it| it.reason), Some(Reason::Exhausted));
    }

    fn allow_all_who_would_wait(&self) {
        let all = [(ALICE, 1), (BOB, 2)];
        assert!(at_once(self.limiter.acquire_all(&all)).is_allowed());
    }

    /// A key named twice and one that costs nothing: the list is not judged as it comes.
    fn allow_a_changed_list(&self) {
        let all = [(ALICE, 1), (BOB, 2), (ALICE, 1), (CAROL, 0)];
        assert!(at_once(self.limiter.acquire_all(&all)).is_allowed());
    }

    fn deny_all_who_would_wait(&self) {
        let tight = self.limiter.limit_id("tight").expect("it is there");
        let all = [(ALICE, 1), ((tight, "carol").into(), 1)];
        let denial = at_once(self.limiter.acquire_all(&all)).denial();
        assert_eq!(denial.map(|it| it.reason), Some(Reason::Exhausted));
    }
}

type Decide = fn(&Warm);

/// All that a warm key can be asked without waiting.
const DECISIONS: [(&str, Decide); 9] = [
    ("try_acquire, allowed", Warm::allow),
    ("try_acquire, denied", Warm::deny),
    ("acquire, allowed", Warm::allow_who_would_wait),
    ("acquire, denied", Warm::deny_who_would_wait),
    ("try_acquire_all, allowed", Warm::allow_all),
    ("try_acquire_all, denied", Warm::deny_all),
    ("acquire_all, allowed", Warm::allow_all_who_would_wait),
    ("acquire_all, a key twice", Warm::allow_a_changed_list),
    ("acquire_all, denied", Warm::deny_all_who_would_wait),
];

/// The output of a future that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

const ALICE: KeyRef<'_> = KeyRef {
    limit: leasehold::LimitId::FIRST,
    subject: b"alice",
};

const BOB: KeyRef<'_> = KeyRef {
    subject: b"bob",
    ..ALICE
};

const CAROL: KeyRef<'_> = KeyRef {
    subject: b"carol",
    ..ALICE
};

/// Leases that outlast the test on the slowest machine, and are not trimmed meanwhile.
fn long_leases() -> Tuning {
    let mut tuning = Tuning::default();
    tuning.interval_min = PATIENCE;
    tuning.interval_small = PATIENCE;
    tuning.interval_max = PATIENCE;
    tuning.lease_max = PATIENCE * 10;
    tuning.lease_min = tuning.lease_max;
    tuning
}

const PATIENCE: Duration = Duration::from_secs(60);

const ROUNDS: u64 = 10_000;

#[cfg(target_os = "linux")]
mod system_calls {
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus, exit};

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use super::{DECISIONS, ROUNDS, Warm};

    #[test]
    fn a_warm_decision_makes_no_system_call() {
        if let Ok(task) = env::var(TASK) {
            without_system_calls(&task);
        }
        for (decision, _) in DECISIONS {
            let status = in_a_process(decision);
            assert!(
                status.success(),
                "{decision}: ended by its first system call: {status}"
            );
        }
        let status = in_a_process(PLANTED);
        assert_eq!(
            status.signal(),
            Some(libc::SIGSYS),
            "the filter lets system calls pass: {status}"
        );
    }

    fn in_a_process(task: &str) -> ExitStatus {
        let mut command = Command::new(env::current_exe().expect("this program has a path"));
        let status = command
            .args([
                "--exact",
                "system_calls::a_warm_decision_makes_no_system_call",
            ])
            .env(TASK, task)
            .output();
        status.expect("this program runs again").status
    }

    /// Decides, and leaves the process by the only calls that are allowed.
    fn without_system_calls(task: &str) -> ! {
        let warm = Warm::new();
        let decide = DECISIONS.iter().find(|(decision, _)| *decision == task);
        // Whatever is set up once, such as a table of this thread, is.
        if let Some((_, decide)) = decide {
            decide(&warm);
        }
        apply_filter(&only_leave()).expect("a process may give up its system calls");
        match decide {
            Some((_, decide)) => (0..ROUNDS).for_each(|_| decide(&warm)),
            None => drop(env::current_dir()),
        }
        exit(0)
    }

    fn only_leave() -> BpfProgram {
        let leave = LEAVE.map(|call| (call, vec![])).into();
        let arch = env::consts::ARCH
            .try_into()
            .expect("a processor that filters are made for");
        let filter = SeccompFilter::new(
            leave,
            SeccompAction::KillProcess,
            SeccompAction::Allow,
            arch,
        );
        filter
            .and_then(TryInto::try_into)
            .expect("a filter of one rule")
    }

    /// Tells this program, started again, what to do.
    const TASK: &str = "LEASEHOLD_WITHOUT_SYSTEM_CALLS";

    /// A task that makes a system call.
    const PLANTED: &str = "planted";

    /// System calls that the end of a process makes, and no decision would.
    const LEAVE: [i64; 3] = [
        libc::SYS_sigaltstack,
        libc::SYS_munmap,
        libc::SYS_exit_group,
    ];
}
