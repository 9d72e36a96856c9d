//! Bodies: guards that ride on them, reading with a limit, and a body that can be taken back as long as
//! nobody has begun to read it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use weir_runtime::http::{Body, BoxError, empty, full};

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TooLarge {
    /// The body is longer than the limit.
    #[error("the body is larger than {limit} bytes")]
    Limit {
        /// Most bytes that are taken.
        limit: usize,
    },
    /// So many bodies are held already that this one has no room.
    #[error("too many request bodies are being read at once")]
    Room,
    /// The sender went silent in the middle of it.
    #[error("the body stopped arriving for {limit:?}")]
    Slow {
        /// Longest silence that is waited for.
        limit: Duration,
    },
    /// The sender broke off.
    #[error("the body could not be read")]
    Read(#[source] BoxError),
}

/// Longest time between two frames of a body that is read whole: without it a sender that says nothing
/// would hold a connection and memory for ever.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Boxes any body.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Reads `body` whole, refusing more than `limit` bytes without reading them all.
///
/// # Errors
/// When the body is longer than `limit`, or its sender breaks off or is silent for [`SILENCE`].
pub async fn collect_limited<B>(body: B, limit: usize) -> Result<Bytes, TooLarge>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    collect(body, limit, SILENCE, |_| true).await
}

/// Reads `body` whole as [`collect_limited`] does, taking a permit of `room` for each byte that is held.
/// The permits live as long as what is returned with the bytes.
///
/// # Errors
/// Also when `room` has no permits left.
pub async fn collect_in<B>(
    body: B,
    limit: usize,
    room: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), TooLarge>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut held: Option<OwnedSemaphorePermit> = None;
    let bytes = collect(body, limit, SILENCE, |length| {
        let Ok(length) = u32::try_from(length) else {
            return false;
        };
        match (Arc::clone(room).try_acquire_many_owned(length), &mut held) {
            (Ok(more), Some(held)) => held.merge(more),
            (Ok(first), none) => *none = Some(first),
            (Err(_), _) => return false,
        }
        true
    });
    let bytes = bytes.await?;
    Ok((bytes, held))
}

async fn collect<B>(
    body: B,
    limit: usize,
    silence: Duration,
    mut reserve: impl FnMut(usize) -> bool,
) -> Result<Bytes, TooLarge>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(TooLarge::Limit { limit });
    }
    let mut body = std::pin::pin!(body);
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(silence, body.frame());
        let Some(frame) = frame.await.map_err(|_| TooLarge::Slow { limit: silence })? else {
            break;
        };
        let Ok(data) = frame
            .map_err(|error| TooLarge::Read(error.into()))?
            .into_data()
        else {
            continue;
        };
        let have = first.as_ref().map_or(0, Bytes::len) + whole.len();
        if data.len() > limit.saturating_sub(have) {
            return Err(TooLarge::Limit { limit });
        }
        if !reserve(data.len()) {
            return Err(TooLarge::Room);
        }
        // One frame needs no copy.
        if have == 0 {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

/// Lets `guard` live until the last frame of `body` was read, the body failed, or it was dropped.
pub fn guarded<G: Send + 'static>(body: Body, guard: G) -> Body {
    Guarded {
        body,
        guard: Some(guard),
    }
    .boxed_unsync()
}

pin_project! {
    struct Guarded<G> {
        #[pin]
        body: Body,
        guard: Option<G>,
    }
}

impl<G> http_body::Body for Guarded<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let polled = this.body.poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            drop(this.guard.take());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body lent to a client: [`Lent::reclaim`] takes it back unless reading has begun.
#[derive(Clone)]
pub(crate) struct Lent {
    slot: Arc<Mutex<Option<Body>>>,
}

impl Lent {
    /// Returns the lender's handle and the body to hand on.
    pub(crate) fn new(body: Body) -> (Self, Body) {
        let lent = Self {
            slot: Arc::new(Mutex::new(None)),
        };
        let borrowed = Borrowed {
            end: http_body::Body::is_end_stream(&body),
            hint: http_body::Body::size_hint(&body),
            slot: Arc::clone(&lent.slot),
            body: None,
        };
        *lent.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        (lent, borrowed.boxed_unsync())
    }

    /// Returns the body when no byte of it was asked for.
    pub(crate) fn reclaim(self) -> Option<Body> {
        self.slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

struct Borrowed {
    slot: Arc<Mutex<Option<Body>>>,
    body: Option<Body>,
    end: bool,
    hint: SizeHint,
}

impl http_body::Body for Borrowed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.body.is_none() {
            let taken = self
                .slot
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            self.body = taken;
        }
        match self.body.as_mut() {
            Some(body) => Pin::new(body).poll_frame(context),
            // Reclaimed: the request is being sent elsewhere, nothing may leave here.
            None => Poll::Ready(Some(Err("the body was taken back for another try".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .map_or(self.end, http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| self.hint, http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::StreamExt as _;

    use super::*;

    struct Count(Arc<AtomicUsize>);

    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn guard_is_dropped_once_at_the_end_and_once_when_dropped() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut body = guarded(full("abc"), Count(Arc::clone(&dropped)));
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        while body.frame().await.is_some() {}
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        drop(body);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        drop(guarded(full("abc"), Count(Arc::clone(&dropped))));
        assert_eq!(dropped.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn reads_up_to_the_limit() {
        assert_eq!(collect_limited(full("abcd"), 4).await.unwrap(), "abcd");
        assert!(matches!(
            collect_limited(full("abcde"), 4).await,
            Err(TooLarge::Limit { limit: 4 })
        ));
        let streamed = || {
            http_body_util::StreamBody::new(futures::stream::iter(["ab", "cd", "e"].map(|part| {
                Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(part.as_bytes())))
            })))
        };
        assert_eq!(collect_limited(streamed(), 5).await.unwrap(), "abcde");
        assert!(collect_limited(streamed(), 4).await.is_err());
        let room = Arc::new(Semaphore::new(7));
        let (bytes, held) = collect_in(streamed(), 5, &room).await.unwrap();
        assert_eq!((bytes, room.available_permits()), ("abcde".into(), 2));
        assert!(matches!(
            collect_in(streamed(), 5, &room).await,
            Err(TooLarge::Room)
        ));
        drop(held);
        assert_eq!(room.available_permits(), 7);
    }

    #[tokio::test]
    async fn a_silent_sender_is_given_up() {
        let frame = Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"a")));
        let frames = futures::stream::iter([frame]).chain(futures::stream::pending());
        let body = http_body_util::StreamBody::new(frames);
        let silence = Duration::from_millis(1);
        let error = collect(body, 5, silence, |_| true).await.unwrap_err();
        assert!(matches!(error, TooLarge::Slow { .. }), "{error}");
        assert_eq!(crate::Problem::from(&error).status, 408);
    }

    #[tokio::test]
    async fn a_lent_body_comes_back_only_unread() {
        let (lent, body) = Lent::new(full("abc"));
        drop(body);
        assert!(lent.reclaim().is_some());
        let (lent, mut body) = Lent::new(full("abc"));
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(3));
        assert!(body.frame().await.is_some());
        assert!(lent.reclaim().is_none());
    }
}
