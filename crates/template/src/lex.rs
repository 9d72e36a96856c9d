//! Text and actions, and the tokens of an action.

use crate::{Error, Trim};

/// One token with its byte position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Text(String),
    Open,
    Close,
    Dot,
    /// `.A.B`
    Field(Vec<String>),
    /// `.A` directly behind a closing parenthesis.
    Chain(Vec<String>),
    /// `$x.A`, the name without `$`.
    Variable(String, Vec<String>),
    Word(String),
    Str(String),
    Int(i64),
    Float(f64),
    Left,
    Right,
    Pipe,
    Comma,
    Declare,
    Assign,
}

pub(crate) fn lex(text: &str, trim: Trim) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::new(),
    };
    let white = |c: char| match trim {
        Trim::White => matches!(c, ' ' | '\t' | '\r' | '\n'),
        Trim::Blanks => c == ' ',
    };
    let mut trim_next = false;
    loop {
        let rest = &text[lexer.at..];
        let (body, open) = rest
            .find("{{")
            .map_or((rest, None), |i| (&rest[..i], Some(lexer.at + i)));
        let start = lexer.at;
        let trim_before = open.is_some_and(|open| left_marker(&text[open + 2..]));
        let mut body = body;
        if trim_next {
            body = body.trim_start_matches(white);
        }
        if trim_before {
            body = body.trim_end_matches(white);
        }
        if !body.is_empty() {
            lexer.push(Kind::Text(body.to_owned()), start);
        }
        let Some(open) = open else {
            return Ok(lexer.tokens);
        };
        lexer.at = open + 2 + usize::from(trim_before);
        trim_next = lexer.action(open)?;
    }
}

fn left_marker(after: &str) -> bool {
    let mut chars = after.chars();
    chars.next() == Some('-') && chars.next().is_some_and(char::is_whitespace)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn push(&mut self, kind: Kind, at: usize) {
        self.tokens.push(Token { kind, at });
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::at(self.text, at, message))
    }

    /// Reads an action up to its closing braces; says whether they trim what follows.
    fn action(&mut self, open: usize) -> Result<bool, Error> {
        let trimmed = self.rest().trim_start();
        if trimmed.starts_with("/*") {
            let start = self.text.len() - trimmed.len();
            let Some(length) = trimmed.find("*/") else {
                return self.fail(start, "comment is not closed: add */}}");
            };
            self.at = start + length + 2;
            let spaced = self.rest().starts_with(char::is_whitespace);
            let after = self.rest().trim_start();
            for (marker, trim) in [("-}}", true), ("}}", false)] {
                if after.starts_with(marker) && (spaced || !trim) {
                    self.at = self.text.len() - after.len() + marker.len();
                    return Ok(trim);
                }
            }
            return self.fail(
                start,
                "comment ends before the closing braces: write {{/* ... */}}",
            );
        }
        self.push(Kind::Open, open);
        loop {
            let before = self.at;
            self.at = self.text.len() - self.rest().trim_start().len();
            let spaced = self.at > before;
            if self.rest().starts_with("}}") {
                self.push(Kind::Close, self.at);
                self.at += 2;
                return Ok(false);
            }
            if spaced && self.rest().starts_with("-}}") {
                self.push(Kind::Close, self.at);
                self.at += 3;
                return Ok(true);
            }
            let Some(first) = self.rest().chars().next() else {
                return self.fail(open, "action is not closed: add }}");
            };
            self.token(first, spaced)?;
        }
    }

    fn token(&mut self, first: char, spaced: bool) -> Result<(), Error> {
        let at = self.at;
        let second = self.rest().chars().nth(1);
        let (kind, length) = match first {
            '(' => (Kind::Left, 1),
            ')' => (Kind::Right, 1),
            '|' => (Kind::Pipe, 1),
            ',' => (Kind::Comma, 1),
            ':' if second == Some('=') => (Kind::Declare, 2),
            '=' => (Kind::Assign, 1),
            '`' => {
                let Some(length) = self.rest()[1..].find('`') else {
                    return self.fail(at, "raw string is not closed: add `");
                };
                (Kind::Str(self.rest()[1..=length].to_owned()), length + 2)
            }
            '"' => return self.quoted(),
            '\'' => return self.character(),
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => {
                let names = self.names();
                let behind = self
                    .tokens
                    .last()
                    .is_some_and(|last| last.kind == Kind::Right);
                let kind = match names.is_empty() {
                    true => Kind::Dot,
                    false if behind && !spaced => Kind::Chain(names),
                    false => Kind::Field(names),
                };
                if kind == Kind::Dot {
                    self.at += 1;
                }
                self.push(kind, at);
                return Ok(());
            }
            '$' => {
                self.at += 1;
                let name = self.word();
                let names = self.names();
                self.push(Kind::Variable(name, names), at);
                return Ok(());
            }
            c if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => return self.number(),
            c if c.is_alphabetic() || c == '_' => {
                let word = self.word();
                self.push(Kind::Word(word), at);
                return Ok(());
            }
            c => return self.fail(at, format!("unexpected {c:?} in action")),
        };
        self.push(kind, at);
        self.at += length;
        Ok(())
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let word = rest[..end].to_owned();
        self.at += end;
        word
    }

    /// Reads `.A.B`, or nothing.
    fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while self.rest().starts_with('.')
            && self.rest()[1..].starts_with(|c: char| c.is_alphabetic() || c == '_')
        {
            self.at += 1;
            names.push(self.word());
        }
        names
    }

    fn number(&mut self) -> Result<(), Error> {
        let at = self.at;
        let rest = self.rest();
        let end = rest[1..]
            .find(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '+' | '-'))
            .map_or(rest.len(), |i| i + 1);
        let source = rest[..end].to_owned();
        let plain = source.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let radix = |prefix: &str, radix| {
            let lower = digits.to_ascii_lowercase();
            i64::from_str_radix(&format!("{sign}{}", lower.strip_prefix(prefix)?), radix).ok()
        };
        let octal = digits.len() > 1 && digits.bytes().all(|b| (b'0'..b'8').contains(&b));
        let int = radix("0x", 16)
            .or_else(|| radix("0b", 2))
            .or_else(|| radix("0o", 8))
            .or_else(|| octal.then(|| radix("0", 8)).flatten())
            .or_else(|| plain.trim_start_matches('+').parse().ok());
        let float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let kind = match (int, plain.parse::<f64>()) {
            (Some(int), _) => Kind::Int(int),
            (None, Ok(number)) if float => Kind::Float(number),
            _ => return self.fail(at, format!("bad number {source:?}")),
        };
        self.push(kind, at);
        self.at += end;
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), Error> {
        let at = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            match self.rest().chars().next() {
                None | Some('\n') => return self.fail(at, "string is not closed: add \""),
                Some('"') => break,
                Some('\\') => value.push(self.escape()?),
                Some(c) => {
                    value.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        self.at += 1;
        self.push(Kind::Str(value), at);
        Ok(())
    }

    fn character(&mut self) -> Result<(), Error> {
        let at = self.at;
        self.at += 1;
        let value = match self.rest().chars().next() {
            Some('\\') => self.escape()?,
            Some(c) if c != '\'' && c != '\n' => {
                self.at += c.len_utf8();
                c
            }
            _ => return self.fail(at, "malformed character constant: use `...` for a string"),
        };
        if !self.rest().starts_with('\'') {
            return self.fail(at, "malformed character constant: use `...` for a string");
        }
        self.at += 1;
        self.push(Kind::Int(i64::from(u32::from(value))), at);
        Ok(())
    }

    /// Reads an escape, the cursor on its backslash.
    fn escape(&mut self) -> Result<char, Error> {
        let at = self.at;
        let code = self.rest().chars().nth(1);
        let simple = match code {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\x07',
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('v') => '\x0b',
            Some(c @ ('\\' | '"' | '\'')) => c,
            Some(c @ ('x' | 'u' | 'U')) => {
                let length = match c {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits = self.rest().get(2..2 + length).unwrap_or_default();
                let value = u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                let Some(value) = value else {
                    return self.fail(at, "bad escape in string");
                };
                self.at += 2 + length;
                return Ok(value);
            }
            _ => {
                return self.fail(
                    at,
                    "unknown escape in string: use `...` for text as it stands",
                );
            }
        };
        self.at += 2;
        Ok(simple)
    }
}
