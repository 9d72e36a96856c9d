//! SIGTERM and SIGINT as cancellation.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Takes over SIGTERM and SIGINT at once, whenever the future is first polled: a signal that comes after this call
/// does not end the process.
///
/// The future waits for one of them, then cancels `first`; waits for one more, then cancels `second`. It ends when
/// `second` is cancelled.
///
/// # Errors
/// The future's, when the signal handlers cannot be installed.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watch(
    first: CancellationToken,
    second: CancellationToken,
) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
    let handlers = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    async move {
        let (mut terminate, mut interrupt) = handlers?;
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
}
