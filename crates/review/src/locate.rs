//! From the path of a field (`spec.containers[0].name`) to its JSON pointer and its schema.

use serde_json::Value;
use weir_schema::Node;

/// The JSON pointer of a path in a value. Keys may hold dots, so the value decides where one ends.
///
/// A last step that is not there is kept: the pointer of a missing field is that of where it would be.
pub(crate) fn pointer(value: &Value, path: &str) -> String {
    let mut out = String::new();
    let mut at = Some(value);
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let bracket = rest
            .strip_prefix('[')
            .and_then(|inside| inside.split_once(']'));
        let step = match (bracket, at) {
            (Some((index, after)), _) => {
                rest = after;
                let index = index.trim_matches('"');
                named(at, index).unwrap_or_else(|| index.to_owned())
            }
            (None, Some(Value::Object(fields))) => {
                let key = fields
                    .keys()
                    .filter(|key| leads(rest, key))
                    .max_by_key(|key| key.len());
                let key = key.map_or_else(|| first(rest), String::as_str);
                rest = &rest[key.len()..];
                key.to_owned()
            }
            _ => {
                let key = first(rest);
                rest = &rest[key.len()..];
                key.to_owned()
            }
        };
        at = at.and_then(|value| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            other => other.get(&step),
        });
        out.push('/');
        out.push_str(&step.replace('~', "~0").replace('/', "~1"));
    }
    out
}

/// The index of the item that has a name: `containers[main]`.
fn named(list: Option<&Value>, name: &str) -> Option<String> {
    let index = list?
        .as_array()?
        .iter()
        .position(|item| item["name"] == name);
    index.map(|index| index.to_string())
}

/// Whether the path begins with this key as a whole step.
fn leads(path: &str, key: &str) -> bool {
    path.strip_prefix(key)
        .is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
}

fn first(path: &str) -> &str {
    let end = path
        .char_indices()
        .skip(1)
        .find(|(_, c)| ".[".contains(*c))
        .map_or(path.len(), |(at, _)| at);
    &path[..end]
}

/// The steps of a JSON pointer.
fn steps(pointer: &str) -> impl Iterator<Item = String> {
    pointer
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
}

/// The schema at a JSON pointer.
pub(crate) fn node(root: &Node, pointer: &str) -> Option<Node> {
    let mut at = root.clone();
    for step in steps(pointer) {
        at = match at.items() {
            Some(items) if step.bytes().all(|b| b.is_ascii_digit()) => items,
            _ => at.field(&step)?,
        };
    }
    Some(at)
}

/// The candidate nearest to a word, when it is near enough to be meant.
pub(crate) fn similar<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    near(word, candidates, 3)
}

/// The candidate nearest to a word, when at most one letter of `share` is different.
pub(crate) fn near<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    share: usize,
) -> Option<&'a str> {
    let limit = (word.chars().count() / share).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                distance(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The shortest candidate that a word abridges by leaving letters out, at most half of them.
pub(crate) fn abridged<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    let abridges = |candidate: &str| {
        let mut letters = candidate.chars().flat_map(char::to_lowercase);
        word.len() * 2 >= candidate.len() && word.chars().all(|c| letters.any(|letter| letter == c))
    };
    candidates
        .into_iter()
        .filter(|candidate| abridges(candidate))
        .min_by_key(|candidate| candidate.len())
}

/// Edits between two words; two letters that changed places are one.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let changed = above[j] + usize::from(l != r);
            let mut edits = changed.min(row[j] + 1).min(above[j + 1] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                edits = edits.min(before[j - 1] + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_with_dots_are_one_step() {
        let value = json!({"metadata": {"labels": {"a.b/c": 1, "a": {"b": 2}}}, "l": [{"x": 1}]});
        assert_eq!(
            pointer(&value, "metadata.labels.a.b/c"),
            "/metadata/labels/a.b~1c"
        );
        assert_eq!(
            pointer(&value, "metadata.labels.a.b"),
            "/metadata/labels/a/b"
        );
        assert_eq!(pointer(&value, "l[0].x"), "/l/0/x");
        let named = json!({"l": [{"name": "a"}, {"name": "b", "c.d": 1}]});
        assert_eq!(pointer(&named, "l[b].c.d"), "/l/1/c.d");
        assert_eq!(pointer(&value, "l[0].missing"), "/l/0/missing");
        assert_eq!(pointer(&value, "spec.foo"), "/spec/foo");
        assert_eq!(pointer(&value, ""), "");
    }

    #[test]
    fn near_words_are_found() {
        assert_eq!(similar("replica", ["replicas", "router"]), Some("replicas"));
        assert_eq!(
            similar("LLMInferenceservice", ["LLMInferenceService", "Pod"]),
            Some("LLMInferenceService")
        );
        assert_eq!(similar("zebra", ["replicas", "router"]), None);
        assert_eq!(similar("nmae", ["image", "name"]), Some("name"));
    }
}
