//! Signals that ask this process to end: Ctrl-C at the keyboard, or SIGTERM from a service manager.
//!
//! # Invariant
//!
//! The first signal ends the process at once, unless a command holds a [`Graceful`], because it has
//! something to finish or to clean up; then that command is told, and a second signal ends the
//! process at once. Either way the exit code is the signal's.

use std::process;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use tokio::sync::watch;

/// A signal that asked this process to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// As shells have it: 128 and the number of the signal.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// While it lives, the first signal only tells the command that holds it.
pub(crate) struct Graceful(());

impl Graceful {
    pub(crate) fn begin() -> Self {
        GRACEFUL.fetch_add(1, SeqCst);
        Self(())
    }
}

impl Drop for Graceful {
    fn drop(&mut self) {
        GRACEFUL.fetch_sub(1, SeqCst);
    }
}

/// Listens from now on, in a thread of its own: a command may be busy computing.
pub(crate) fn listen() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without one, signals do what they do by default, and end the process.
    let Ok(runtime) = runtime else { return };
    #[expect(clippy::disallowed_methods, reason = "waits for signals")]
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                heard(next().await);
            }
        });
    });
}

fn heard(signal: Signal) {
    if GRACEFUL.load(SeqCst) > 0 && asked().is_none() {
        ASKED.send_replace(Some(signal));
        return;
    }
    let words = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(words) = &*words {
        anstream::eprintln!("{}", words());
    }
    process::exit(signal.exit_code().into());
}

/// Sets the last line that is printed if a signal ends the process at once. It replaces the one
/// that was set before.
pub(crate) fn last_words(words: impl Fn() -> String + Send + 'static) {
    let mut said = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    *said = Some(Box::new(words));
}

/// The signal that asked this process to end, if one did.
pub(crate) fn asked() -> Option<Signal> {
    *ASKED.borrow()
}

/// Waits until this process is asked to end.
pub(crate) async fn asked_to_end() -> Signal {
    let mut asked = ASKED.subscribe();
    let asked = asked.wait_for(Option::is_some).await;
    asked
        .expect("the sender is static")
        .expect("it was waited for")
}

async fn next() -> Signal {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Signal::Interrupt,
        () = terminated() => Signal::Terminate,
    }
}

/// Waits for SIGTERM.
#[cfg(unix)]
pub(crate) async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Then it ends the process, as it would have anyway.
        Err(_) => std::future::pending().await,
    }
}

/// There is no such signal.
#[cfg(not(unix))]
pub(crate) async fn terminated() {
    std::future::pending().await
}

type Words = Box<dyn Fn() -> String + Send>;

static ASKED: LazyLock<watch::Sender<Option<Signal>>> = LazyLock::new(|| watch::Sender::new(None));
static GRACEFUL: AtomicUsize = AtomicUsize::new(0);
static LAST_WORDS: Mutex<Option<Words>> = Mutex::new(None);
