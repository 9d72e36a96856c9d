//! Answers without a model: a stand-in for a tokenizer, canned sentences and their length.

use crate::options::Mode;

const SENTENCES: [&str; 12] = [
    "The river turns slowly past the old mill.",
    "Every bridge in the valley was built twice.",
    "A careful answer begins with a plain question.",
    "Morning light reached the harbour before the boats did.",
    "She counted the steps and wrote the number down.",
    "Rain on the roof made the room seem smaller.",
    "Two roads meet where the market used to be.",
    "The machine hums, waits, and starts again.",
    "Nobody remembers who planted the tall trees.",
    "A short letter can take a whole day to write.",
    "The map was right, but the coast had moved.",
    "In winter the lake keeps the shape of the wind.",
];

/// What an answer says and why it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its tokens; together they are its text.
    pub tokens: Vec<String>,
    /// `stop` or `length`.
    pub reason: &'static str,
    /// The string that ended it.
    pub stop: Option<String>,
}

impl Answer {
    /// Ends the answer at the first of `stops` that comes up after `least` tokens, as the engine does: the token
    /// that completes the string is the last, the text ends before the string, or after it when `include`.
    pub fn stop_at(&mut self, stops: &[String], include: bool, least: u64) {
        let mut text = String::new();
        let mut from = 0;
        for index in 0..self.tokens.len() {
            let before = text.len();
            text.push_str(&self.tokens[index]);
            if (index as u64) < least {
                from = text.len();
                continue;
            }
            for stop in stops {
                // A string that ended before this token was seen then.
                let begin = before
                    .saturating_sub(stop.len().saturating_sub(1))
                    .max(from);
                let begin = text.ceil_char_boundary(begin);
                let Some(at) = text[begin..].find(stop.as_str()) else {
                    continue;
                };
                let at = begin + at;
                self.tokens.truncate(index + 1);
                self.cut(if include { at + stop.len() } else { at });
                self.reason = "stop";
                self.stop = Some(stop.clone());
                return;
            }
        }
    }

    /// Shortens the text to `keep` bytes. The number of tokens stays: they were generated.
    fn cut(&mut self, keep: usize) {
        let mut left = keep;
        for token in &mut self.tokens {
            token.truncate(left);
            left -= token.len();
        }
    }
}

/// Splits text into tokens: a word or one other character, each with the white space after it; leading white space
/// is one of its own. The llm-d simulator counts the same for ASCII text.
#[must_use]
pub fn tokens(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut before = None;
    for character in text.chars() {
        let kind = if character.is_whitespace() {
            Kind::Blank
        } else if character.is_alphanumeric() || character == '_' {
            Kind::Word
        } else {
            Kind::Other
        };
        let joins = kind == Kind::Blank || (kind == Kind::Word && before == Some(Kind::Word));
        match out.last_mut().filter(|_| joins) {
            Some(token) => token.push(character),
            None => out.push(character.to_string()),
        }
        before = Some(kind);
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Blank,
    Other,
}

/// The tokens of an echo of token ids: one for each.
#[must_use]
pub fn id_tokens(ids: &[u64]) -> Vec<String> {
    ids.iter()
        .enumerate()
        .map(|(index, id)| {
            if index == 0 {
                id.to_string()
            } else {
                format!(",{id}")
            }
        })
        .collect()
}

/// What is asked of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Where it comes from.
    pub mode: Mode,
    /// What an echo repeats and a canned answer is chosen by.
    pub echo: &'a [String],
    /// Seed and number of the copy.
    pub seed: u64,
    /// Most tokens.
    pub limit: u64,
    /// Tokens that fit the context window after the prompt. The client's limit does not shorten an echo, the
    /// window does.
    pub room: u64,
    /// Whether the client gave the limit.
    pub limited: bool,
    /// Least tokens.
    pub least: u64,
    /// Whether exactly the limit is generated.
    pub exact: bool,
}

/// The answer to `ask`; the same for the same words.
#[must_use]
pub fn answer(ask: Ask<'_>) -> Answer {
    if ask.mode == Mode::Echo {
        let mut tokens = ask.echo.to_vec();
        if tokens.is_empty() {
            // The end token counts, though it adds no text.
            tokens.push(String::new());
        }
        tokens.truncate(usize::try_from(ask.room.max(1)).unwrap_or(usize::MAX));
        let reason = if tokens.len() as u64 >= ask.limit {
            "length"
        } else {
            "stop"
        };
        return Answer {
            tokens,
            reason,
            stop: None,
        };
    }
    let mut random =
        Random(hash(&ask.echo.concat()) ^ ask.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let count = if ask.exact {
        ask.limit
    } else {
        length(&mut random, ask.limit, ask.limited)
    };
    let count = count.max(ask.least).clamp(1, ask.limit.max(1));
    let mut out: Vec<String> = Vec::new();
    while (out.len() as u64) < count {
        let sentence = SENTENCES[random.below(SENTENCES.len() as u64) as usize];
        out.extend(tokens(&format!("{sentence} ")));
    }
    out.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    if let Some(last) = out.last_mut() {
        last.truncate(last.trim_end().len());
    }
    let reason = if count >= ask.limit { "length" } else { "stop" };
    Answer {
        tokens: out,
        reason,
        stop: None,
    }
}

fn length(random: &mut Random, limit: u64, limited: bool) -> u64 {
    if !limited {
        if limit < 20 {
            return 1 + random.below(limit.max(1));
        }
        for _ in 0..100 {
            // The sum of twelve uniform values is close enough to a normal one.
            let sum: f64 = (0..12).map(|_| random.unit()).sum();
            let drawn = 40.0 + 20.0 * (sum - 6.0);
            if drawn >= 1.0 && drawn as u64 <= limit {
                return drawn.round() as u64;
            }
        }
        return 40.min(limit);
    }
    if limit <= 1 {
        return limit;
    }
    if limit <= 6 {
        return 1 + random.below(limit);
    }
    let draw = random.unit();
    let shares = [0.20, 0.30, 0.20, 0.05, 0.10];
    let most = limit - 1;
    let widths = if limit <= 101 {
        [
            most / 5,
            most / 5,
            most / 5,
            most / 5,
            most - 4 * (most / 5),
        ]
    } else {
        [20, 20, 20, most - 80, 20]
    };
    let mut begin = 0;
    let mut sum = 0.0;
    for (share, width) in shares.into_iter().zip(widths) {
        sum += share;
        if draw < sum {
            return begin + 1 + random.below(width.max(1));
        }
        begin += width;
    }
    limit
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// FNV-1a: only to choose by.
#[must_use]
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_lose_nothing() {
        for text in [
            "",
            "a",
            "The capital of France is",
            " x  y\n\nz!?",
            "é1 ",
            "a, b",
        ] {
            assert_eq!(tokens(text).concat(), text, "{text:?}");
        }
        assert_eq!(
            tokens("The river, slowly."),
            ["The ", "river", ", ", "slowly", "."]
        );
    }

    #[test]
    fn answers_keep_their_bounds_and_repeat() {
        for limit in [1, 2, 6, 7, 50, 101, 102, 500, 1000] {
            for seed in 0..200 {
                for limited in [true, false] {
                    let ask = Ask {
                        mode: Mode::Random,
                        echo: &["p".to_owned()],
                        seed,
                        limit,
                        room: 2000,
                        limited,
                        least: 0,
                        exact: false,
                    };
                    let one = answer(ask);
                    assert!((1..=limit).contains(&(one.tokens.len() as u64)));
                    assert_eq!(one.reason == "length", one.tokens.len() as u64 == limit);
                    assert_eq!(one, answer(ask));
                }
            }
        }
    }

    #[test]
    fn an_echo_is_the_prompt_as_far_as_the_window_goes() {
        for (room, said) in [(9, "a b c"), (2, "a b ")] {
            let ask = Ask {
                mode: Mode::Echo,
                echo: &tokens("a b c"),
                seed: 0,
                limit: 2,
                room,
                limited: true,
                least: 0,
                exact: false,
            };
            let answer = answer(ask);
            assert_eq!((answer.tokens, answer.reason), (tokens(said), "length"));
        }
    }

    #[test]
    fn a_stop_string_ends_an_answer() {
        type Row<'a> = (&'a [&'a str], bool, u64, &'a str, usize, Option<&'a str>);
        let rows: [Row<'_>; 8] = [
            (&["x"], false, 0, "one two three two é", 5, None),
            (&["two"], false, 0, "one ", 2, Some("two")),
            (&["two"], true, 0, "one two", 2, Some("two")),
            (&["two"], false, 2, "one two three ", 4, Some("two")),
            (&["e t"], false, 0, "on", 2, Some("e t")),
            (&["e t"], true, 0, "one t", 2, Some("e t")),
            (&["three", "one"], false, 0, "", 1, Some("one")),
            (&["é"], false, 0, "one two three two ", 5, Some("é")),
        ];
        for (stops, include, least, said, count, stop) in rows {
            let mut answer = Answer {
                tokens: tokens("one two three two é"),
                reason: "length",
                stop: None,
            };
            let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
            answer.stop_at(&stops, include, least);
            assert_eq!(answer.tokens.concat(), said, "{stops:?}");
            assert_eq!(answer.tokens.len(), count, "{stops:?}");
            assert_eq!(answer.stop.as_deref(), stop, "{stops:?}");
            assert_eq!(answer.reason == "stop", stop.is_some());
        }
    }
}
