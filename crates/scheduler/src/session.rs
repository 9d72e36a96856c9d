//! Sessions: requests of one conversation go to the endpoint that served it before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;

use crate::config::settings::SessionIdFrom;
use crate::context::Context;
use crate::request::Headers;

/// How a session is known.
#[derive(Clone, Debug)]
pub(crate) enum Affinity {
    /// The header carries the endpoint's id.
    Encoded { header: String },
    /// The id is looked up.
    Bound {
        sources: Vec<SessionIdFrom>,
        bindings: Arc<Bindings>,
        profile: String,
    },
}

/// Which session is on which endpoint.
#[derive(Debug)]
pub(crate) struct Bindings {
    ttl: Duration,
    sweep: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_session: HashMap<Box<str>, Binding>,
    swept: Duration,
}

#[derive(Clone, Debug)]
struct Binding {
    endpoint: Arc<str>,
    used: Duration,
}

/// Most sessions remembered; beyond that new ones are not bound until a sweep made room.
const MAX_SESSIONS: usize = 100_000;
/// Longest id that is remembered.
const MAX_ID: usize = 256;

impl Affinity {
    /// Position of the session's endpoint, if there is a session and its endpoint is in the snapshot.
    pub(crate) fn endpoint(&self, context: &Context<'_>) -> Option<u32> {
        let headers = context.request.headers;
        let find = |id: &str| {
            let endpoints = context.snapshot.endpoints().iter();
            (0..)
                .zip(endpoints)
                .find(|(_, e)| &*e.id == id)
                .map(|(at, _)| at)
        };
        match self {
            Self::Encoded { header } => {
                let token = headers
                    .header(header)
                    .filter(|token| token.len() <= 2 * MAX_ID)?;
                let id = STANDARD.decode(token).ok()?;
                find(std::str::from_utf8(&id).ok()?)
            }
            Self::Bound {
                sources, bindings, ..
            } => {
                let id = session_id(sources, headers)?;
                let bound = bindings.get(id)?;
                find(&bound)
            }
        }
    }

    /// Profile whose pick is bound; empty is the primary one.
    pub(crate) fn profile(&self) -> &str {
        match self {
            Self::Encoded { .. } => "",
            Self::Bound { profile, .. } => profile,
        }
    }

    /// Notes which endpoint a request of a session goes to.
    pub(crate) fn bind(
        &self,
        headers: &dyn Headers,
        endpoint: &Arc<str>,
        stays: bool,
        now: Duration,
    ) {
        if let Self::Bound {
            sources, bindings, ..
        } = self
            && let Some(id) = session_id(sources, headers)
        {
            bindings.bind(id, endpoint, stays, now);
        }
    }

    /// The header of answers, and its value, by which clients name this endpoint again.
    pub(crate) fn token(&self, endpoint: &str) -> Option<(String, String)> {
        match self {
            Self::Encoded { header } => Some((header.clone(), STANDARD.encode(endpoint))),
            Self::Bound { .. } => None,
        }
    }
}

impl Bindings {
    pub(crate) fn new(ttl: Duration, sweep: Duration) -> Self {
        Self {
            ttl,
            sweep,
            state: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, session: &str) -> Option<Arc<str>> {
        let state = self.state.lock();
        Some(Arc::clone(&state.by_session.get(session)?.endpoint))
    }

    /// Binds a session. One that is bound moves only when its endpoint no longer `stays` among the candidates.
    pub(crate) fn bind(&self, session: &str, endpoint: &Arc<str>, stays: bool, now: Duration) {
        let mut state = self.state.lock();
        if now.saturating_sub(state.swept) >= self.sweep {
            state.swept = now;
            let ttl = self.ttl;
            state
                .by_session
                .retain(|_, binding| now.saturating_sub(binding.used) < ttl);
        }
        if let Some(binding) = state.by_session.get_mut(session) {
            binding.used = now;
            if !stays {
                binding.endpoint = Arc::clone(endpoint);
            }
        } else if state.by_session.len() < MAX_SESSIONS && session.len() <= MAX_ID {
            let binding = Binding {
                endpoint: Arc::clone(endpoint),
                used: now,
            };
            state.by_session.insert(session.into(), binding);
        }
    }
}

/// The id of a request's session: the first source that has one.
pub(crate) fn session_id<'a>(
    sources: &[SessionIdFrom],
    headers: &'a dyn Headers,
) -> Option<&'a str> {
    sources
        .iter()
        .find_map(|source| match source {
            SessionIdFrom::Header(name) => headers.header(name),
            SessionIdFrom::Cookie(name) => headers.header("cookie")?.split(';').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                (key.trim() == name).then_some(value.trim())
            }),
            // Replaced by what the producer looks at when the plugins are built.
            SessionIdFrom::Attribute(_) => None,
        })
        .filter(|id| !id.is_empty())
}
