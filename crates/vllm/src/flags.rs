//! Every flag of `vllm serve`, read from a table that lies beside this module.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("flags.tsv");

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing; its presence sets it.
    Switch,
    /// Nothing; `--no-NAME` unsets it.
    Bool,
    /// One word.
    Value,
    /// One whole number.
    Int,
    /// One whole number, also with a suffix as in `8k`.
    Size,
    /// The same, or `auto`.
    SizeOrAuto,
    /// One number.
    Float,
    /// One word or none.
    Optional,
    /// One word or more.
    List,
    /// One word; may be given several times.
    Append,
    /// Whole numbers, one or more.
    Ints,
    /// JSON, whole or key by key (`--flag.key value`).
    Json,
    /// The same, or any other word.
    JsonOrText,
    /// Prints the help.
    Help,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "switch" => Self::Switch,
            "bool" => Self::Bool,
            "value" => Self::Value,
            "int" => Self::Int,
            "size" => Self::Size,
            "size-or-auto" => Self::SizeOrAuto,
            "float" => Self::Float,
            "optional" => Self::Optional,
            "list" => Self::List,
            "append" => Self::Append,
            "ints" => Self::Ints,
            "json" => Self::Json,
            "json-or-text" => Self::JsonOrText,
            "help" => Self::Help,
            _ => return None,
        })
    }
}

/// Whether a flag may come from a manifest that is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// It loads no code, reads no file and binds nothing wider.
    Safe,
    /// Never.
    Unsafe,
    /// Only when it names no file outside the pod's volumes.
    Path,
    /// JSON that is checked key by key.
    Json,
}

/// One flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name without dashes, words joined by `-`.
    pub name: &'static str,
    /// Further spellings, with their dashes.
    pub aliases: Vec<&'static str>,
    /// What it takes.
    pub kind: Kind,
    /// Whether its type may also be unset, by `None` or nothing.
    pub optional: bool,
    /// The only values it takes; empty when any.
    pub choices: Vec<&'static str>,
    /// Whether a manifest may give it.
    pub safety: Safety,
}

impl Flag {
    /// A flag without aliases, choices or danger: how components add flags of their own.
    #[must_use]
    pub fn plain(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            kind,
            optional: false,
            choices: Vec::new(),
            safety: Safety::Safe,
        }
    }

    fn row(line: &'static str) -> Option<Self> {
        let mut columns = line.split('\t');
        let name = columns.next()?;
        let aliases = columns.next()?.split_ascii_whitespace().collect();
        let kind = columns.next()?;
        let (kind, optional) = match kind.strip_suffix('?') {
            Some(kind) => (Kind::parse(kind)?, true),
            None => (Kind::parse(kind)?, false),
        };
        let choices = columns.next()?.split_ascii_whitespace().collect();
        let safety = match columns.next()? {
            "yes" => Safety::Safe,
            "no" => Safety::Unsafe,
            "path" => Safety::Path,
            "json" => Safety::Json,
            _ => return None,
        };
        Some(Self {
            name,
            aliases,
            kind,
            optional,
            choices,
            safety,
        })
    }
}

static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(Flag::row)
        .collect()
});

static BY_NAME: LazyLock<HashMap<&'static str, &'static Flag>> =
    LazyLock::new(|| FLAGS.iter().map(|flag| (flag.name, flag)).collect());

/// All flags, in the order of the engine's help.
#[must_use]
pub fn all() -> &'static [Flag] {
    &FLAGS
}

/// The flag of that name (no dashes in front, words joined by `-`).
#[must_use]
pub fn find(name: &str) -> Option<&'static Flag> {
    BY_NAME.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let rows = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(all().len(), rows);
        assert_eq!(BY_NAME.len(), rows);
    }

    #[test]
    fn dangerous_flags_are_marked() {
        for name in [
            "trust-remote-code",
            "middleware",
            "worker-cls",
            "worker-extension-cls",
            "scheduler-cls",
            "logits-processors",
            "tool-parser-plugin",
            "reasoning-parser-plugin",
            "io-processor-plugin",
            "allowed-local-media-path",
            "config",
        ] {
            assert_eq!(
                find(name).map(|flag| flag.safety),
                Some(Safety::Unsafe),
                "{name}"
            );
        }
        assert_eq!(
            find("chat-template").map(|flag| flag.safety),
            Some(Safety::Path)
        );
        assert_eq!(
            find("kv-transfer-config").map(|flag| flag.safety),
            Some(Safety::Json)
        );
    }

    #[test]
    fn the_recorded_help_names_no_other_flag() {
        let shared = std::env::var("WEIR_SHARED")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
        let path = format!("{shared}/captures/vllm/serve-help.txt");
        let Ok(help) = std::fs::read_to_string(&path) else {
            eprintln!("SKIPPED: the recorded help is not at {path}");
            return;
        };
        let mut seen = 0;
        for line in help.lines().filter(|line| line.starts_with("  -")) {
            for part in line.trim().split(", ") {
                let word = part.split_ascii_whitespace().next().unwrap_or_default();
                let known = match word.strip_prefix("--") {
                    Some(name) => {
                        find(name).is_some()
                            || name
                                .strip_prefix("no-")
                                .and_then(find)
                                .is_some_and(|flag| flag.kind == Kind::Bool)
                            || all().iter().any(|flag| flag.aliases.contains(&word))
                    }
                    None if word.starts_with('-') => {
                        all().iter().any(|flag| flag.aliases.contains(&word))
                    }
                    None => continue,
                };
                assert!(known, "{word}");
                seen += 1;
            }
        }
        assert!(seen > all().len());
    }
}
