//! JSON read in place: a cursor that validates as it goes and allocates nothing but a stack of brackets.
//!
//! Errors are worded as Go's decoder words them, since a picker's callers compare the text. Strings are bytes: what
//! is no UTF-8 passes, as it does there.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 10_000;

/// Why a text is no JSON; the text names the character.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text ends too early.
    #[error("unexpected end of JSON input")]
    End,
    /// A character that cannot stand there.
    #[error("invalid character {} {place}", quoted(*.byte))]
    Byte {
        /// The character.
        byte: u8,
        /// Where it stands, in words.
        place: Cow<'static, str>,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("exceeded max depth")]
    Depth,
}

/// First character of a value, hence its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or `-`.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The type as Go's decoder names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Null => "null",
        }
    }
}

/// A position in a text.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `text`.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The text between two positions.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> &'a [u8] {
        &self.text[range]
    }

    /// The type of the next value, which is not passed over.
    ///
    /// # Errors
    /// When no value follows.
    pub fn kind(&mut self) -> Result<Kind, Error> {
        match self.visible()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b't' | b'f' => Ok(Kind::Bool),
            b'n' => Ok(Kind::Null),
            byte => Err(invalid(byte, "looking for beginning of value")),
        }
    }

    /// Passes over the `{` of an object or the `[` of an array.
    ///
    /// # Errors
    /// When nested too deep.
    pub fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::Depth);
        }
        self.at += 1;
        Ok(())
    }

    /// The next key of an object, `None` at its end. `first` right after [`Cursor::enter`]. The cursor stands
    /// before the value then; the range is that of the key with its quotes.
    ///
    /// # Errors
    /// When the text is no object there.
    pub fn key(&mut self, first: bool) -> Result<Option<Range<usize>>, Error> {
        let mut byte = self.visible()?;
        if byte == b'}' {
            self.at += 1;
            self.depth -= 1;
            return Ok(None);
        }
        if !first {
            if byte != b',' {
                return Err(invalid(byte, "after object key:value pair"));
            }
            self.at += 1;
            byte = self.visible()?;
        }
        if byte != b'"' {
            return Err(invalid(byte, "looking for beginning of object key string"));
        }
        let key = self.string()?;
        match self.visible()? {
            b':' => self.at += 1,
            byte => return Err(invalid(byte, "after object key")),
        }
        Ok(Some(key))
    }

    /// Whether another element of an array follows; `first` right after [`Cursor::enter`].
    ///
    /// # Errors
    /// When the text is no array there.
    pub fn element(&mut self, first: bool) -> Result<bool, Error> {
        match self.visible()? {
            b']' => {
                self.at += 1;
                self.depth -= 1;
                return Ok(false);
            }
            _ if first => {}
            b',' => self.at += 1,
            byte => return Err(invalid(byte, "after array element")),
        }
        Ok(true)
    }

    /// Passes over one value and returns where it stands.
    ///
    /// # Errors
    /// When it is no valid JSON.
    pub fn value(&mut self) -> Result<Range<usize>, Error> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::String => {
                self.string()?;
            }
            Kind::Number => self.number()?,
            Kind::Bool if self.text[self.at] == b't' => self.literal(b"true", "true")?,
            Kind::Bool => self.literal(b"false", "false")?,
            Kind::Null => self.literal(b"null", "null")?,
            Kind::Object | Kind::Array => self.nested()?,
        }
        Ok(start..self.at)
    }

    /// Says whether only white space follows.
    ///
    /// # Errors
    /// When something else does.
    pub fn end(&mut self) -> Result<(), Error> {
        match self.visible() {
            Err(Error::End) => Ok(()),
            Ok(byte) => Err(invalid(byte, "after top-level value")),
            Err(other) => Err(other),
        }
    }

    /// An object or an array with all that is in it; a stack of brackets in place of recursion.
    fn nested(&mut self) -> Result<(), Error> {
        let mut stack: Vec<bool> = Vec::new();
        let mut first = true;
        loop {
            let open = match stack.last() {
                Some(true) => self.key(first)?.is_some(),
                Some(false) => self.element(first)?,
                None if first => true,
                None => return Ok(()),
            };
            if !open {
                stack.pop();
                first = false;
                continue;
            }
            match self.kind()? {
                kind @ (Kind::Object | Kind::Array) => {
                    self.enter()?;
                    stack.push(kind == Kind::Object);
                    first = true;
                }
                _ => {
                    self.value()?;
                    first = false;
                }
            }
        }
    }

    fn visible(&mut self) -> Result<u8, Error> {
        loop {
            match self.text.get(self.at) {
                None => return Err(Error::End),
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(byte) => return Ok(*byte),
            }
        }
    }

    fn string(&mut self) -> Result<Range<usize>, Error> {
        let start = self.at;
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let length = memchr2(b'"', b'\\', rest);
            let plain = &rest[..length.unwrap_or(rest.len())];
            // The fold has no early exit, so that it is done many bytes at a time.
            if plain.iter().fold(false, |seen, byte| seen | (*byte < b' ')) {
                let byte = plain.iter().copied().find(|byte| *byte < b' ').unwrap_or(0);
                return Err(invalid(byte, "in string literal"));
            }
            let Some(length) = length else {
                return Err(Error::End);
            };
            self.at += length + 1;
            if rest[length] == b'"' {
                return Ok(start..self.at);
            }
            match self.text.get(self.at) {
                None => return Err(Error::End),
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                Some(b'u') => {
                    for offset in 1..=4 {
                        match self.text.get(self.at + offset) {
                            None => return Err(Error::End),
                            Some(byte) if byte.is_ascii_hexdigit() => {}
                            Some(byte) => {
                                return Err(invalid(*byte, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    self.at += 5;
                }
                Some(byte) => return Err(invalid(*byte, "in string escape code")),
            }
        }
    }

    fn number(&mut self) -> Result<(), Error> {
        let digits = |cursor: &mut Self, place: &'static str| {
            match cursor.text.get(cursor.at) {
                Some(b'0'..=b'9') => {}
                None => return Err(Error::End),
                Some(byte) => return Err(invalid(*byte, place)),
            }
            while matches!(cursor.text.get(cursor.at), Some(b'0'..=b'9')) {
                cursor.at += 1;
            }
            Ok(())
        };
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            digits(self, "in numeric literal")?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            digits(self, "after decimal point in numeric literal")?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            digits(self, "in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8], name: &str) -> Result<(), Error> {
        for expected in word {
            match self.text.get(self.at) {
                None => return Err(Error::End),
                Some(byte) if byte == expected => self.at += 1,
                Some(byte) => {
                    return Err(Error::Byte {
                        byte: *byte,
                        place: format!("in literal {name} (expecting {})", quoted(*expected))
                            .into(),
                    });
                }
            }
        }
        Ok(())
    }
}

fn invalid(byte: u8, place: &'static str) -> Error {
    Error::Byte {
        byte,
        place: Cow::Borrowed(place),
    }
}

/// A byte as Go quotes one.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b' '..=b'~' => format!("'{}'", char::from(byte)),
        0x80..=0x9f | 0..=0x1f | 0x7f => {
            if byte < 0x80 {
                format!(r"'\x{byte:02x}'")
            } else {
                format!(r"'\u{byte:04x}'")
            }
        }
        _ => format!("'{}'", char::from(byte)),
    }
}

/// The characters of a string, given with its quotes; a copy only when something is escaped.
#[must_use]
pub fn unquote(quoted: &[u8]) -> Cow<'_, [u8]> {
    let inner = &quoted[1..quoted.len() - 1];
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    unescape(inner, &mut out);
    Cow::Owned(out)
}

/// Appends the characters of `inner`, a string without its quotes.
pub fn unescape(mut inner: &[u8], out: &mut Vec<u8>) {
    while let Some(length) = memchr::memchr(b'\\', inner) {
        out.extend_from_slice(&inner[..length]);
        let (used, character) = escape(&inner[length..]);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        inner = &inner[length + used..];
    }
    out.extend_from_slice(inner);
}

/// Length and meaning of the escape that `text` begins with; the text was validated.
fn escape(text: &[u8]) -> (usize, char) {
    let plain = |character| (2, character);
    match text.get(1) {
        Some(b'b') => plain('\u{8}'),
        Some(b'f') => plain('\u{c}'),
        Some(b'n') => plain('\n'),
        Some(b'r') => plain('\r'),
        Some(b't') => plain('\t'),
        Some(b'u') => {
            let first = unit(text);
            let second = text
                .get(6..)
                .filter(|rest| rest.starts_with(b"\\u"))
                .map(unit);
            match (first, second) {
                (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
                    let code = 0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00);
                    (
                        12,
                        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                    )
                }
                _ => (
                    6,
                    char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
                ),
            }
        }
        Some(byte) => plain(char::from(*byte)),
        None => (1, '\\'),
    }
}

fn unit(text: &[u8]) -> u32 {
    text.get(2..6)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0xfffd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(), String> {
        let mut cursor = Cursor::new(text.as_bytes());
        cursor
            .value()
            .and_then(|_| cursor.end())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn errors_are_worded_as_go_s() {
        let rows = [
            (
                "no",
                "invalid character 'o' in literal null (expecting 'u')",
            ),
            ("{\"a\":[", "unexpected end of JSON input"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("x", "invalid character 'x' looking for beginning of value"),
            (
                "{a",
                "invalid character 'a' looking for beginning of object key string",
            ),
            ("{\"a\" 1", "invalid character '1' after object key"),
            (
                "{\"a\":1 2",
                "invalid character '2' after object key:value pair",
            ),
            ("[1 2", "invalid character '2' after array element"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            (
                "\"\\u12g4\"",
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            ("-x", "invalid character 'x' in numeric literal"),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            (
                "1ex",
                "invalid character 'x' in exponent of numeric literal",
            ),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            (
                "{\"a\":1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            ("", "unexpected end of JSON input"),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text), Err(expected.to_owned()), "{text}");
        }
        for text in [
            "{}",
            " [1, -0.5e+3, \"\\u00e9\", {\"a\":[null,true,false]}] ",
        ] {
            assert_eq!(read(text), Ok(()), "{text}");
        }
        assert_eq!(
            read(&"[".repeat(MAX_DEPTH + 1)),
            Err("exceeded max depth".to_owned())
        );
    }

    #[test]
    fn strings_are_unescaped() {
        let rows: [(&[u8], &str); 4] = [
            (br#""plain""#, "plain"),
            (br#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (br#""\u00e9\ud83d\ude00""#, "é😀"),
            (br#""\ud83dx""#, "\u{fffd}x"),
        ];
        for (quoted, expected) in rows {
            assert_eq!(unquote(quoted), expected.as_bytes());
        }
    }
}
