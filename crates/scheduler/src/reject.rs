//! Why a request is not sent anywhere, in the words that clients see.

use std::borrow::Cow;
use std::fmt;

use crate::explain::Explain;

/// Code word of an error, each with its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request cannot be read.
    BadRequest,
    /// Reserved for plugins.
    Unauthorized,
    /// Reserved for plugins.
    Forbidden,
    /// Reserved for plugins.
    NotFound,
    /// The client asked for cached work and there is none.
    PreconditionFailed,
    /// No capacity now.
    ResourceExhausted,
    /// No endpoint now.
    ServiceUnavailable,
    /// Our fault.
    Internal,
}

impl Code {
    /// The word in bodies and in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::PreconditionFailed => "PreconditionFailed",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Internal => "Internal",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::PreconditionFailed => 412,
            Self::ResourceExhausted => 429,
            Self::ServiceUnavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// Value of the header that says why a request was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// No capacity, or every endpoint filtered out.
    Saturated,
    /// It waited too long.
    TtlExpired,
    /// There is no endpoint.
    NoEndpoints,
    /// The client went away.
    ContextCancelled,
    /// The picker stops.
    ShuttingDown,
    /// It ran and was stopped in favour of others.
    Evicted,
}

impl DropReason {
    /// The header's value.
    #[must_use]
    pub fn value(self) -> &'static str {
        match self {
            Self::Saturated => "rejected-saturated",
            Self::TtlExpired => "rejected-ttl-expired",
            Self::NoEndpoints => "rejected-no-endpoints",
            Self::ContextCancelled => "rejected-context-cancelled",
            Self::ShuttingDown => "rejected-shutting-down",
            Self::Evicted => "evicted",
        }
    }
}

/// A request that is answered by us.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// Decides the status.
    pub code: Code,
    /// What happened; without the code word.
    pub message: Cow<'static, str>,
    /// Value of the drop-reason header, if the answer has one.
    pub dropped: Option<DropReason>,
    /// How it came to that, when a story was asked for.
    pub story: Option<Box<Explain>>,
}

impl Rejection {
    /// A rejection without a drop reason.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            dropped: None,
            story: None,
        }
    }

    /// The same with a drop reason.
    #[must_use]
    pub fn because(mut self, reason: DropReason) -> Self {
        self.dropped = Some(reason);
        self
    }

    /// The same with the story of the decision, if there is one.
    #[must_use]
    pub(crate) fn told(mut self, story: Option<Explain>) -> Self {
        self.story = story.map(Box::new);
        self
    }

    /// The pool, or what is left of it for this request, is empty.
    #[must_use]
    pub fn no_candidates() -> Self {
        Self::new(
            Code::ServiceUnavailable,
            "failed to find endpoint candidates for serving the request",
        )
        .because(DropReason::NoEndpoints)
    }

    /// Filters removed every endpoint.
    #[must_use]
    pub fn all_filtered() -> Self {
        Self::new(
            Code::ResourceExhausted,
            "no endpoints available for the given request",
        )
        .because(DropReason::Saturated)
    }

    /// Anything else that kept a request from being scheduled.
    #[must_use]
    pub fn not_scheduled(why: impl fmt::Display) -> Self {
        Self::new(
            Code::ResourceExhausted,
            format!("failed to find target endpoint: {why}"),
        )
    }

    /// Legacy admission: saturated, and the request may be shed.
    #[must_use]
    pub fn shed() -> Self {
        Self::new(
            Code::ResourceExhausted,
            "system saturated, sheddable request dropped",
        )
    }

    /// The client wanted cached work only (`Prefer: if-available`).
    #[must_use]
    pub fn not_cached() -> Self {
        Self::new(
            Code::PreconditionFailed,
            "no decode worker has the requested KV cache",
        )
    }

    /// A plugin denied the request.
    #[must_use]
    pub fn not_admitted(why: impl fmt::Display) -> Self {
        Self::new(Code::Internal, format!("request cannot be admitted: {why}"))
    }

    /// Body of the answer.
    #[must_use]
    pub fn body(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "inference error: {} - {}",
            self.code.word(),
            self.message
        )
    }
}

impl std::error::Error for Rejection {}
