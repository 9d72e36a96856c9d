//! Flags in argument lists: the pair that carries the picker's configuration, and flags that newer pickers no
//! longer know.

use serde_json::Value;

/// Flags that carry the configuration itself.
const TEXT: [&str; 2] = ["config-text", "configText"];
/// Flags that name a file with it.
const FILE: [&str; 2] = ["config-file", "configFile"];

/// The words of a container's `command` or `args`.
pub(super) fn words<'a>(container: &'a Value, list: &str) -> &'a [Value] {
    crate::items(container, &format!("/{list}"))
}

fn named(word: &Value, names: &[&str]) -> bool {
    let word = word.as_str().unwrap_or_default();
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
    name.is_some_and(|name| names.contains(&name))
}

/// Places of the values of configuration texts.
pub(super) fn texts(args: &[Value]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 1 < args.len() {
        if named(&args[at], &TEXT) {
            found.push(at + 1);
            at += 1;
        }
        at += 1;
    }
    found
}

/// The first flag and value that carry or name a configuration.
pub(super) fn config_pair(args: &[Value]) -> Option<[Value; 2]> {
    let at = args
        .iter()
        .position(|word| named(word, &TEXT) || named(word, &FILE))?;
    Some([args[at].clone(), args.get(at + 1)?.clone()])
}

/// Whether a pair carries the configuration itself.
pub(super) fn is_text(pair: &[Value; 2]) -> bool {
    named(&pair[0], &TEXT)
}

/// Name and value written in one word, when the word is a flag.
fn split(word: &str) -> Option<(&str, Option<&str>)> {
    let name = word.trim_start_matches('-');
    if name.len() == word.len() || name.is_empty() {
        return None;
    }
    Some(match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    })
}

/// Whether any word is one of the flags, with or without a value.
pub(super) fn mentions(words: &[Value], names: &[&str]) -> Vec<String> {
    let flags = words.iter().filter_map(|word| split(word.as_str()?));
    flags
        .filter(|(name, _)| names.contains(name))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Removes the flags from the words; answers names and values in order.
///
/// The next word is the value of a flag that has none of its own, unless it begins with a dash.
pub(super) fn strip(words: &mut Vec<Value>, names: &[&str]) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut kept = Vec::with_capacity(words.len());
    let mut rest = std::mem::take(words).into_iter().peekable();
    while let Some(word) = rest.next() {
        let flag = word.as_str().and_then(split);
        let Some((name, value)) = flag.filter(|(name, _)| names.contains(name)) else {
            kept.push(word);
            continue;
        };
        let name = name.to_owned();
        let mut value = value.filter(|value| !value.is_empty()).map(str::to_owned);
        if value.is_none()
            && let Some(next) =
                rest.next_if(|next| next.as_str().is_some_and(|next| !next.starts_with('-')))
        {
            value = next.as_str().map(str::to_owned);
        }
        found.push((name, value));
    }
    *words = kept;
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(words: &[&str]) -> Vec<Value> {
        words.iter().map(|word| json!(word)).collect()
    }

    #[test]
    fn a_flag_takes_its_value_with_it() {
        let table: [(&[&str], &[&str], Option<&str>); 8] = [
            (&["--f", "v", "x"], &["x"], Some("v")),
            (&["-f=v", "x"], &["x"], Some("v")),
            (&["---f", "--g"], &["--g"], None),
            (&["--f=", "v"], &[], Some("v")),
            (&["--f", "", "x"], &["x"], Some("")),
            (&["--f"], &[], None),
            (&["--f", "-1"], &["-1"], None),
            (&["a", "--f=1=2"], &["a"], Some("1=2")),
        ];
        for (words, rest, value) in table {
            let mut words = list(words);
            let found = strip(&mut words, &["f"]);
            assert_eq!(words, list(rest));
            assert_eq!(found, [("f".to_owned(), value.map(str::to_owned))]);
        }
        let mut words = list(&["f", "--ff", "x"]);
        assert_eq!(strip(&mut words, &["f"]), []);
    }

    #[test]
    fn only_a_flag_with_a_word_of_its_own_carries_a_configuration() {
        assert_eq!(config_pair(&list(&["--config-text=x"])), None);
        assert_eq!(config_pair(&list(&["--config-text"])), None);
        let pair = config_pair(&list(&["-v", "-configFile", "f"]));
        assert_eq!(pair.map(|pair| is_text(&pair)), Some(false));
        assert_eq!(
            texts(&list(&["--config-text", "a", "--configText", "b"])),
            [1, 3]
        );
    }
}
