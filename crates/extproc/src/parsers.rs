//! Which parser reads a request, by its path.

use weir_openai::peek::Format;

use crate::headers::Headers;

/// A parser of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parser {
    /// OpenAI's APIs.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// vLLM's generation from token ids.
    VllmHttp,
    /// Takes every body as it is.
    Passthrough,
}

/// What becomes of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Read as JSON.
    Json(Format),
    /// Not looked at.
    Passthrough,
}

/// Parsers in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsers(Vec<Parser>);

const OPENAI: [(&str, Format); 8] = [
    ("conversations", Format::Conversations),
    ("responses", Format::Responses),
    ("chat/completions", Format::Chat),
    ("chat/completions/render", Format::Chat),
    ("completions", Format::Completions),
    ("completions/render", Format::Completions),
    ("embeddings", Format::Embeddings),
    ("images/generations", Format::Images),
];

const ANTHROPIC: [(&str, Format); 2] = [
    ("messages", Format::Messages),
    ("messages/count_tokens", Format::CountTokens),
];

const VLLM: [(&str, Format); 1] = [("inference/v1/generate", Format::Generate)];

impl Parser {
    /// The parser of a plugin type.
    #[must_use]
    pub fn of_type(name: &str) -> Option<Self> {
        match name {
            "openai-parser" => Some(Self::OpenAi),
            "anthropic-parser" => Some(Self::Anthropic),
            "vllmhttp-parser" => Some(Self::VllmHttp),
            "passthrough-parser" => Some(Self::Passthrough),
            _ => None,
        }
    }

    fn claims(self) -> &'static [(&'static str, Format)] {
        match self {
            Self::OpenAi => &OPENAI,
            Self::Anthropic => &ANTHROPIC,
            Self::VllmHttp => &VLLM,
            Self::Passthrough => &[],
        }
    }
}

impl Default for Parsers {
    fn default() -> Self {
        Self(vec![
            Parser::OpenAi,
            Parser::Anthropic,
            Parser::VllmHttp,
            Parser::Passthrough,
        ])
    }
}

impl Parsers {
    /// These parsers. The first without claims is the fallback and ends the list.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = Parser>) -> Self {
        let mut list = Vec::new();
        for parser in all {
            if !list.contains(&parser) {
                list.push(parser);
            }
            if parser.claims().is_empty() {
                break;
            }
        }
        Self(list)
    }

    /// What becomes of a request for `path` (see [`path`]); `None` when nobody takes it.
    #[must_use]
    pub fn choose(&self, path: &str) -> Option<Choice> {
        let mut best: Option<(usize, Format)> = None;
        for parser in &self.0 {
            for (suffix, format) in parser.claims() {
                let Some(front) = path.strip_suffix(suffix) else {
                    continue;
                };
                if best.is_none_or(|(length, _)| length < suffix.len()) {
                    // A path that only happens to end so is taken as the oldest of the APIs.
                    let whole = front.is_empty() || front.ends_with('/');
                    let format = if whole || *parser != Parser::OpenAi {
                        *format
                    } else {
                        Format::Completions
                    };
                    best = Some((suffix.len(), format));
                }
            }
        }
        match best {
            Some((_, format)) => Some(Choice::Json(format)),
            None => self
                .0
                .contains(&Parser::Passthrough)
                .then_some(Choice::Passthrough),
        }
    }
}

/// The path of a request, without its query and one slash at its end.
#[must_use]
pub fn path(headers: &Headers) -> &str {
    let path = [":path", "x-original-path", "x-forwarded-path"]
        .iter()
        .filter_map(|name| headers.text(name))
        .find(|path| !path.is_empty())
        .unwrap_or("/v1/completions");
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    path.strip_suffix('/').unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_claim_wins() {
        let all = Parsers::default();
        let json = |format| Some(Choice::Json(format));
        let rows = [
            ("/v1/chat/completions", json(Format::Chat)),
            ("/prefix/v1/chat/completions", json(Format::Chat)),
            ("/v1/completions/render", json(Format::Completions)),
            ("/v1/mycompletions", json(Format::Completions)),
            ("/v1/myembeddings", json(Format::Completions)),
            ("/v1/messages", json(Format::Messages)),
            ("/v1/messages/count_tokens", json(Format::CountTokens)),
            ("/inference/v1/generate", json(Format::Generate)),
            ("/v1/Chat/Completions", Some(Choice::Passthrough)),
            ("/v1/chat/completions/", Some(Choice::Passthrough)),
            ("/foo", Some(Choice::Passthrough)),
        ];
        for (path, expected) in rows {
            assert_eq!(all.choose(path), expected, "{path}");
        }
        let one = Parsers::new([Parser::OpenAi]);
        assert_eq!(one.choose("/v1/messages"), None);
        let ended = Parsers::new([Parser::Passthrough, Parser::OpenAi]);
        assert_eq!(ended.choose("/v1/completions"), Some(Choice::Passthrough));
    }
}
