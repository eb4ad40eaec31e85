//! What the system or a person says to a process that is to end.

/// Waits until somebody asks this process to end: from the keyboard, or as a service manager does
/// (SIGTERM).
pub(crate) async fn asked_to_end() {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
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
