//! How waiting ends.

use std::time::Duration;

use super::{Item, Ticket};
use crate::reject::{Code, DropReason, Rejection};

/// How waiting ended; each has its label in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The request may go on.
    Dispatched,
    /// There was no room.
    RejectedCapacity,
    /// There was no room, and no endpoint either.
    RejectedNoEndpoints,
    /// It was refused for another reason.
    RejectedOther,
    /// It waited too long.
    EvictedTtl,
    /// It waited too long, and there is no endpoint.
    EvictedNoEndpoints,
    /// Its client went away.
    EvictedContextCancelled,
    /// It was taken out for another reason.
    EvictedOther,
}

/// A request that waits no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Its ticket; `None` when it never waited.
    pub ticket: Option<Ticket>,
    /// The request.
    pub item: Item,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it waited.
    pub waited: Duration,
}

impl Outcome {
    /// Value of the metrics' label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Dispatched => "Dispatched",
            Self::RejectedCapacity => "RejectedCapacity",
            Self::RejectedNoEndpoints => "RejectedNoEndpoints",
            Self::RejectedOther => "RejectedOther",
            Self::EvictedTtl => "EvictedTTL",
            Self::EvictedNoEndpoints => "EvictedNoEndpoints",
            Self::EvictedContextCancelled => "EvictedContextCancelled",
            Self::EvictedOther => "EvictedOther",
        }
    }

    /// The answer to the client; `None` when the request goes on.
    #[must_use]
    pub fn rejection(self) -> Option<Rejection> {
        let (code, message, reason) = match self {
            Self::Dispatched => return None,
            Self::RejectedCapacity => (
                Code::ResourceExhausted,
                "request rejected pre-queue: queue at capacity",
                DropReason::Saturated,
            ),
            Self::RejectedNoEndpoints => (
                Code::ServiceUnavailable,
                "no endpoints available: request rejected pre-queue: no endpoints available",
                DropReason::NoEndpoints,
            ),
            Self::EvictedTtl => (
                Code::ResourceExhausted,
                "request timed out in queue: request evicted from queue: request TTL expired",
                DropReason::TtlExpired,
            ),
            Self::EvictedNoEndpoints => (
                Code::ServiceUnavailable,
                "request timed out in queue and no endpoints are available: request evicted from queue: request TTL expired: no endpoints available",
                DropReason::NoEndpoints,
            ),
            Self::EvictedContextCancelled => (
                Code::ServiceUnavailable,
                "client disconnected: request evicted from queue: context canceled",
                DropReason::ContextCancelled,
            ),
            Self::RejectedOther | Self::EvictedOther => (
                Code::ServiceUnavailable,
                "flow controller shutting down: request evicted from queue",
                DropReason::ShuttingDown,
            ),
        };
        Some(Rejection::new(code, message).because(reason))
    }
}

impl Ended {
    pub(super) fn new(
        ticket: Option<Ticket>,
        item: Item,
        outcome: Outcome,
        waited: Duration,
    ) -> Self {
        Self {
            ticket,
            item,
            outcome,
            waited,
        }
    }
}
