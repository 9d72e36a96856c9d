//! From a whole request to what a decision needs, and from the decision to the body that goes out.

use std::borrow::Cow;

use bytes::Bytes;
use weir_openai::peek::{self, Format, Peek};
use weir_openai::shield;

use crate::exchange::Arrived;
use crate::names;
use crate::parsers::{self, Choice, Parsers};

/// Why a request is refused before anything is decided; all of them are 400.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Nobody reads bodies for this path.
    #[error("no parser registered matching path suffix for: {0}")]
    Path(String),
    /// The body is not what the path asks for.
    #[error("{0}")]
    Body(#[from] peek::Refused),
    /// Neither the body nor a header names a model.
    #[error("model not found in request body")]
    Model,
    /// The body has a structure that readers may see differently.
    #[error("{0}")]
    Shield(#[from] shield::NotJson),
}

/// A request as far as it was read.
#[derive(Clone, Debug)]
pub struct Intake<'a> {
    /// The API; `None` for what was not looked at.
    pub format: Option<Format>,
    /// What was read.
    pub peek: Peek<'a>,
    /// The model that the body names; empty when not looked at.
    pub incoming: Cow<'a, str>,
    /// The model that the header names, else the body's.
    pub target: Cow<'a, str>,
}

/// Reads a request.
///
/// # Errors
/// When nobody takes its path, its body is refused or no model is named.
pub fn read<'a>(arrived: &'a Arrived, parsers: &Parsers) -> Result<Intake<'a>, Refused> {
    let path = parsers::path(&arrived.headers);
    let choice = parsers
        .choose(path)
        .ok_or_else(|| Refused::Path(path.to_owned()))?;
    let header = arrived
        .headers
        .first_of(&names::REWRITE)
        .filter(|name| !name.is_empty());
    let (format, peek) = match choice {
        Choice::Passthrough => (None, Peek::default()),
        Choice::Json(format) => (Some(format), peek::peek(format, &arrived.body)?),
    };
    let incoming = peek.model.clone().unwrap_or_default();
    let target = header.map_or_else(|| incoming.clone(), Cow::Borrowed);
    if format.is_some() && target.is_empty() {
        return Err(Refused::Model);
    }
    Ok(Intake {
        format,
        peek,
        incoming,
        target,
    })
}

/// The body that goes out for `target`; `None` when it is the one that came.
///
/// # Errors
/// When something must be taken out of a body that readers may see differently.
pub fn outgoing(
    body: &Bytes,
    intake: &Intake<'_>,
    target: &str,
    trust_client: bool,
) -> Result<Option<Bytes>, Refused> {
    if intake.format.is_none() {
        return Ok(None);
    }
    // Token counting is answered without a model being run, so none is put in.
    let counting = intake.format.is_some_and(Format::skips_response);
    let renamed =
        (!counting && target != intake.incoming).then(|| rename(body, &intake.peek, target));
    if trust_client || !intake.peek.to_shield {
        return Ok(renamed);
    }
    let before = renamed.as_ref().unwrap_or(body);
    let after = shield::body(before)?;
    Ok(if after.len() == before.len() {
        renamed
    } else {
        Some(after)
    })
}

/// Puts another model in the place of every one that the body names, or one where it names none.
fn rename(body: &Bytes, peek: &Peek<'_>, target: &str) -> Bytes {
    let name = serde_json::Value::from(target).to_string();
    let mut out = Vec::with_capacity(body.len() + name.len() + 16);
    let mut from = 0;
    for at in &peek.model_at {
        out.extend_from_slice(&body[from..at.start]);
        out.extend_from_slice(name.as_bytes());
        from = at.end;
    }
    if let (true, Some(slot)) = (peek.model_at.is_empty(), peek.model_slot) {
        out.extend_from_slice(&body[..slot.at]);
        if slot.comma_before {
            out.push(b',');
        }
        out.extend_from_slice(b"\"model\":");
        out.extend_from_slice(name.as_bytes());
        if slot.comma_after {
            out.push(b',');
        }
        from = slot.at;
    }
    out.extend_from_slice(&body[from..]);
    out.into()
}

#[cfg(test)]
mod tests;
