//! What a router reads of a request body: one pass over the text, no tree, and copies only of what is escaped.
//!
//! [`peek`] validates the whole text, finds the fields that routing needs and says where the model's name stands, so
//! that another can be put in its place with every other byte left as it was. What is refused, and the words of the
//! refusal, are those of the llm-d endpoint picker.

mod prompt;

use std::borrow::Cow;
use std::ops::Range;

use crate::scan::{self, Cursor, Kind};
use crate::shield;

pub use prompt::Prompt;

/// What kind of request a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Chat completions.
    Chat,
    /// Text completions.
    Completions,
    /// Responses.
    Responses,
    /// Conversations.
    Conversations,
    /// Embeddings.
    Embeddings,
    /// Image generation.
    Images,
    /// Anthropic's messages.
    Messages,
    /// Anthropic's token counting: the answer is no completion.
    CountTokens,
    /// vLLM's generation from token ids.
    Generate,
}

impl Format {
    /// Says whether the answer holds nothing of interest.
    #[must_use]
    pub fn skips_response(self) -> bool {
        self == Self::CountTokens
    }

    fn anthropic(self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens)
    }

    /// The member that has to be there.
    fn required(self) -> &'static [u8] {
        match self {
            Self::Chat | Self::Messages | Self::CountTokens => b"messages",
            Self::Completions | Self::Images => b"prompt",
            Self::Responses | Self::Embeddings => b"input",
            Self::Conversations => b"items",
            Self::Generate => b"token_ids",
        }
    }
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The text is no JSON.
    #[error("error unmarshaling request body{}: {error}", if *.anthropic { "" } else { "Map" })]
    NotJson {
        /// What is wrong.
        error: scan::Error,
        /// Whether the API is Anthropic's, which words it differently.
        anthropic: bool,
    },
    /// The text is no object.
    #[error("error unmarshaling request body{}: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}", if *.anthropic { "" } else { "Map" })]
    NotAnObject {
        /// What it is.
        kind: &'static str,
        /// Whether the API is Anthropic's.
        anthropic: bool,
    },
    /// The member that the API is about is missing or of a wrong form.
    #[error("{}", missing(*.0))]
    Missing(Format),
}

fn missing(format: Format) -> &'static str {
    match format {
        Format::Chat => "invalid chat completions request: must have valid messages field",
        Format::Completions => "invalid completions request: must have prompt field",
        Format::Responses => "invalid responses request: must have input field",
        Format::Conversations => "invalid conversations request: must have items field",
        Format::Embeddings => "invalid embeddings request: must have input field",
        Format::Images => "invalid images generations request: must have prompt field",
        Format::Messages | Format::CountTokens => {
            "invalid messages request: must have at least one message"
        }
        Format::Generate => "invalid generate request: must have non-empty token_ids field",
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The model, when it is a string that is not empty.
    pub model: Option<Cow<'a, str>>,
    /// Where its value stands, quotes included; every occurrence, since readers differ in which one they take.
    pub model_at: Vec<Range<usize>>,
    /// Where a model could be put in when there is none, and whether a comma goes before or after it.
    pub model_slot: Option<Slot>,
    /// `stream` is true.
    pub stream: bool,
    /// The prompts.
    pub prompts: Vec<Prompt<'a>>,
    /// The salt of the engine's prefix cache.
    pub cache_salt: Option<Cow<'a, str>>,
    /// Most tokens to generate.
    pub output_cap: Option<u64>,
    /// A member is there under which clients may not put everything.
    pub to_shield: bool,
}

/// A place for one more member of the top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Byte offset.
    pub at: usize,
    /// A comma has to stand before the member.
    pub comma_before: bool,
    /// A comma has to stand after it.
    pub comma_after: bool,
}

/// Reads `body` as a request of `format`.
///
/// # Errors
/// When it is no JSON object, or lacks what the API is about.
pub fn peek(format: Format, body: &[u8]) -> Result<Peek<'_>, Refused> {
    let mut reader = Reader {
        format,
        cursor: Cursor::new(body),
        peek: Peek::default(),
        parts: prompt::Parts::default(),
        valid: false,
    };
    let not_json = |error| Refused::NotJson {
        error,
        anthropic: format.anthropic(),
    };
    let kind = reader.cursor.kind().map_err(not_json)?;
    if kind == Kind::Object {
        reader.object().map_err(not_json)?;
    } else {
        reader.cursor.value().map_err(not_json)?;
    }
    reader.cursor.end().map_err(not_json)?;
    match kind {
        // Go's decoder makes an empty map of it.
        Kind::Object | Kind::Null => {}
        other => {
            return Err(Refused::NotAnObject {
                kind: other.name(),
                anthropic: format.anthropic(),
            });
        }
    }
    if !reader.valid {
        return Err(Refused::Missing(format));
    }
    reader.parts.finish(format, body, &mut reader.peek.prompts);
    Ok(reader.peek)
}

struct Reader<'a> {
    format: Format,
    cursor: Cursor<'a>,
    peek: Peek<'a>,
    parts: prompt::Parts<'a>,
    valid: bool,
}

impl<'a> Reader<'a> {
    fn object(&mut self) -> Result<(), scan::Error> {
        self.cursor.enter()?;
        let mut first = true;
        let mut end = self.cursor.at();
        let mut slot = None;
        while let Some(key) = self.cursor.key(first)? {
            first = false;
            let start = key.start;
            let name = scan::unquote(self.cursor.slice(key));
            // Sorted bodies stay sorted with a model put in.
            if slot.is_none() && name.as_ref() > &b"model"[..] {
                slot = Some(Slot {
                    at: start,
                    comma_before: false,
                    comma_after: true,
                });
            }
            self.member(&name)?;
            end = self.cursor.at();
        }
        let empty = end <= 1 || first;
        self.peek.model_slot = slot.or(Some(Slot {
            at: end,
            comma_before: !empty,
            comma_after: false,
        }));
        Ok(())
    }

    fn member(&mut self, name: &[u8]) -> Result<(), scan::Error> {
        self.peek.to_shield |= std::str::from_utf8(name).is_ok_and(shield::looks_into);
        if name == self.format.required() {
            return self.required();
        }
        match name {
            b"model" => {
                let kind = self.cursor.kind()?;
                let at = self.cursor.value()?;
                self.peek.model = (kind == Kind::String)
                    .then(|| text(scan::unquote(self.cursor.slice(at.clone()))))
                    .filter(|model| !model.is_empty());
                self.peek.model_at.push(at);
            }
            b"stream" => {
                let at = self.cursor.value()?;
                self.peek.stream = self.cursor.slice(at) == b"true";
            }
            b"cache_salt" => {
                let kind = self.cursor.kind()?;
                let at = self.cursor.value()?;
                self.peek.cache_salt =
                    (kind == Kind::String).then(|| text(scan::unquote(self.cursor.slice(at))));
            }
            b"max_completion_tokens" if self.format == Format::Chat => {
                if let Some(cap) = self.integer()? {
                    self.peek.output_cap = Some(cap);
                    self.parts.cap_is_final = true;
                }
            }
            b"max_tokens" if self.format != Format::Responses => {
                let cap = self.integer()?;
                if !self.parts.cap_is_final && cap.is_some() {
                    self.peek.output_cap = cap;
                }
            }
            b"max_output_tokens" if self.format == Format::Responses => {
                self.peek.output_cap = self.integer()?;
            }
            b"sampling_params" if self.format == Format::Generate => self.sampling()?,
            b"tools" => self.parts.tools = Some(self.cursor.value()?),
            b"instructions" => self.parts.instructions = Some(self.cursor.value()?),
            b"system" => self.parts.system = Some(self.cursor.value()?),
            _ => {
                self.cursor.value()?;
            }
        }
        Ok(())
    }

    fn sampling(&mut self) -> Result<(), scan::Error> {
        if self.cursor.kind()? != Kind::Object {
            self.cursor.value()?;
            return Ok(());
        }
        self.cursor.enter()?;
        let mut first = true;
        while let Some(key) = self.cursor.key(first)? {
            first = false;
            if self.cursor.slice(key) == b"\"max_tokens\"" {
                self.peek.output_cap = self.integer()?;
            } else {
                self.cursor.value()?;
            }
        }
        Ok(())
    }

    fn integer(&mut self) -> Result<Option<u64>, scan::Error> {
        let at = self.cursor.value()?;
        let digits = std::str::from_utf8(self.cursor.slice(at)).ok();
        Ok(digits.and_then(|digits| digits.parse().ok()))
    }

    /// The member that the API is about. A later one of the same name takes the place of an earlier one.
    fn required(&mut self) -> Result<(), scan::Error> {
        self.parts.content.clear();
        self.peek.prompts.clear();
        self.valid = match self.format {
            Format::Chat | Format::Messages | Format::CountTokens => {
                prompt::messages(&mut self.cursor, &mut self.parts.content)?
            }
            Format::Completions => prompt::prompts(&mut self.cursor, &mut self.peek.prompts)?,
            Format::Generate => match prompt::ids(&mut self.cursor)? {
                Some(ids) if !ids.is_empty() => {
                    self.peek.prompts.push(Cow::Owned(ids));
                    true
                }
                _ => false,
            },
            Format::Images => {
                let kind = self.cursor.kind()?;
                let at = self.cursor.value()?;
                kind == Kind::String && at.len() > 2
            }
            Format::Responses | Format::Embeddings | Format::Conversations => {
                let kind = self.cursor.kind()?;
                let at = self.cursor.value()?;
                self.parts.input = Some(at.clone());
                match kind {
                    Kind::Null => false,
                    Kind::String => at.len() > 2,
                    Kind::Array => {
                        self.cursor.slice(at)[1..].trim_ascii_start().first() != Some(&b']')
                    }
                    _ => self.format != Format::Conversations,
                }
            }
        };
        Ok(())
    }
}

/// Text of a body; what is no UTF-8 is replaced, as Go does.
fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
