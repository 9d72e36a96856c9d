//! Prompts as the bytes that are hashed and counted.

use std::borrow::Cow;
use std::ops::Range;

use crate::scan::{self, Cursor, Kind};

use super::Format;

/// Bytes that stand for an image of unknown size: 640 by 360 pixels, 1,024 pixels a token, four bytes a token.
const IMAGE: usize = 640 * 360 / 1024 * 4;

/// A prompt as the little-endian bytes of its tokens. An estimated token is four bytes of text, so text stands for
/// itself.
pub type Prompt<'a> = Cow<'a, [u8]>;

/// Pieces of a conversation in the order of the prompt.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) tools: Option<Range<usize>>,
    pub(super) instructions: Option<Range<usize>>,
    pub(super) system: Option<Range<usize>>,
    pub(super) input: Option<Range<usize>>,
    pub(super) content: Vec<Piece<'a>>,
    /// The cap that wins over others was seen.
    pub(super) cap_is_final: bool,
}

/// A piece of a prompt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// A string with its quotes.
    Quoted(&'a [u8]),
    /// JSON text as it stands.
    Raw(&'a [u8]),
    /// Something that is no text, told by what names it.
    Media(&'a [u8]),
}

impl<'a> Parts<'a> {
    /// Joins the pieces into the one prompt that such a request has.
    pub(super) fn finish(self, format: Format, body: &'a [u8], prompts: &mut Vec<Prompt<'a>>) {
        let raw = |range: Option<Range<usize>>| range.map(|range| Piece::Raw(&body[range]));
        let mut pieces: Vec<Piece<'a>> = Vec::new();
        match format {
            Format::Completions | Format::Generate | Format::Images => return,
            Format::Chat => pieces.extend(raw(self.tools)),
            Format::Messages | Format::CountTokens => {
                pieces.extend(raw(self.tools));
                pieces.extend(raw(self.system));
            }
            Format::Responses => {
                pieces.extend(raw(self.instructions));
                pieces.extend(raw(self.tools));
                pieces.extend(raw(self.input));
            }
            Format::Conversations | Format::Embeddings => pieces.extend(raw(self.input)),
        }
        pieces.extend(self.content);
        prompts.push(join(&pieces));
    }
}

fn join<'a>(pieces: &[Piece<'a>]) -> Prompt<'a> {
    if let [Piece::Raw(one)] = pieces {
        return Cow::Borrowed(one);
    }
    let mut text = Vec::with_capacity(pieces.iter().map(Piece::at_most).sum());
    for piece in pieces {
        match piece {
            Piece::Quoted(quoted) => scan::unescape(&quoted[1..quoted.len() - 1], &mut text),
            Piece::Raw(raw) => text.extend_from_slice(raw),
            Piece::Media(name) => {
                // The same image is the same run of bytes, another one differs from its first byte on.
                let digest = fnv(name).to_le_bytes();
                text.extend(digest.iter().cycle().take(IMAGE));
            }
        }
    }
    Cow::Owned(text)
}

impl Piece<'_> {
    fn at_most(&self) -> usize {
        match self {
            Self::Quoted(text) | Self::Raw(text) => text.len(),
            Self::Media(_) => IMAGE,
        }
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The prompts of a completion request; false when the form is none of those that are taken.
pub(super) fn prompts<'a>(
    cursor: &mut Cursor<'a>,
    out: &mut Vec<Prompt<'a>>,
) -> Result<bool, scan::Error> {
    match cursor.kind()? {
        Kind::String => {
            let at = cursor.value()?;
            let filled = at.len() > 2;
            out.push(scan::unquote(cursor.slice(at)));
            Ok(filled)
        }
        Kind::Array => {
            let mut ahead = cursor.clone();
            ahead.enter()?;
            if !ahead.element(true)? {
                cursor.value()?;
                return Ok(false);
            }
            if ahead.kind()? == Kind::Number {
                return Ok(match ids(cursor)? {
                    Some(ids) => {
                        out.push(Cow::Owned(ids));
                        true
                    }
                    None => false,
                });
            }
            let mut valid = true;
            cursor.enter()?;
            let mut first = true;
            while cursor.element(first)? {
                first = false;
                let kind = cursor.kind()?;
                let at = cursor.value()?;
                if kind == Kind::String {
                    out.push(scan::unquote(cursor.slice(at)));
                } else {
                    valid = false;
                }
            }
            Ok(valid)
        }
        _ => {
            cursor.value()?;
            Ok(false)
        }
    }
}

/// Token ids, `None` when the value is no list of unsigned 32-bit integers.
pub(super) fn ids(cursor: &mut Cursor<'_>) -> Result<Option<Vec<u8>>, scan::Error> {
    if cursor.kind()? != Kind::Array {
        cursor.value()?;
        return Ok(None);
    }
    let mut ids = Vec::new();
    let mut valid = true;
    cursor.enter()?;
    let mut first = true;
    while cursor.element(first)? {
        first = false;
        let at = cursor.value()?;
        let id: Option<u32> = std::str::from_utf8(cursor.slice(at))
            .ok()
            .and_then(|digits| digits.parse().ok());
        match id {
            Some(id) => ids.extend_from_slice(&id.to_le_bytes()),
            None => valid = false,
        }
    }
    Ok(valid.then_some(ids))
}

/// The messages of a conversation, as roles and contents; false when there is none or one has a wrong form.
pub(super) fn messages<'a>(
    cursor: &mut Cursor<'a>,
    out: &mut Vec<Piece<'a>>,
) -> Result<bool, scan::Error> {
    if cursor.kind()? != Kind::Array {
        cursor.value()?;
        return Ok(false);
    }
    let (mut any, mut valid) = (false, true);
    cursor.enter()?;
    while cursor.element(!any)? {
        any = true;
        valid &= match cursor.kind()? {
            Kind::Object => message(cursor, out)?,
            kind => {
                cursor.value()?;
                kind == Kind::Null
            }
        };
    }
    Ok(any && valid)
}

fn message<'a>(cursor: &mut Cursor<'a>, out: &mut Vec<Piece<'a>>) -> Result<bool, scan::Error> {
    let mut valid = true;
    let mut role = None;
    let from = out.len();
    cursor.enter()?;
    let mut first = true;
    while let Some(key) = cursor.key(first)? {
        first = false;
        let kind = cursor.kind()?;
        match scan::unquote(cursor.slice(key)).as_ref() {
            b"role" => {
                let at = cursor.value()?;
                valid &= matches!(kind, Kind::String | Kind::Null);
                role = (kind == Kind::String).then(|| cursor.slice(at));
            }
            b"content" => match kind {
                Kind::String => {
                    let at = cursor.value()?;
                    out.push(Piece::Quoted(cursor.slice(at)));
                }
                Kind::Array => valid &= parts(cursor, out)?,
                _ => {
                    cursor.value()?;
                    valid &= kind == Kind::Null;
                }
            },
            _ => {
                cursor.value()?;
            }
        }
    }
    if let Some(role) = role {
        out.insert(from, Piece::Quoted(role));
    }
    Ok(valid)
}

/// Content parts of a message.
fn parts<'a>(cursor: &mut Cursor<'a>, out: &mut Vec<Piece<'a>>) -> Result<bool, scan::Error> {
    let mut valid = true;
    cursor.enter()?;
    let mut first = true;
    while cursor.element(first)? {
        first = false;
        if cursor.kind()? != Kind::Object {
            cursor.value()?;
            valid = false;
            continue;
        }
        cursor.enter()?;
        let mut first_key = true;
        while let Some(key) = cursor.key(first_key)? {
            first_key = false;
            let kind = cursor.kind()?;
            let name = scan::unquote(cursor.slice(key));
            let at = cursor.value()?;
            match name.as_ref() {
                b"text" => {
                    valid &= matches!(kind, Kind::String | Kind::Null);
                    if kind == Kind::String {
                        out.push(Piece::Quoted(cursor.slice(at)));
                    }
                }
                b"image_url" | b"video_url" | b"input_audio" => {
                    valid &= matches!(kind, Kind::Object | Kind::Null);
                    if kind == Kind::Object {
                        out.push(Piece::Media(cursor.slice(at)));
                    }
                }
                b"source" if kind == Kind::Object => out.push(Piece::Media(cursor.slice(at))),
                _ => {}
            }
        }
    }
    Ok(valid)
}
