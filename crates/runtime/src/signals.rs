//! SIGTERM and SIGINT as cancellation.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Waits for SIGTERM or SIGINT, then cancels `first`; waits for one more, then cancels `second`.
/// Returns when `second` is cancelled.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub async fn watch(first: CancellationToken, second: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for token in [&first, &second] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = second.cancelled() => return Ok(()),
        }
        token.cancel();
    }
    Ok(())
}
