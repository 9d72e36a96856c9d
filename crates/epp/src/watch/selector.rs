//! Label selectors as text, as Kubernetes writes them.

use weir_scheduler::labels::{Operator, Requirement, Selector};

/// A selector of labels that must have values.
pub(super) fn of_labels(labels: impl IntoIterator<Item = (String, String)>) -> Selector {
    let requirements = labels
        .into_iter()
        .map(|(key, value)| Requirement {
            key,
            operator: Operator::In,
            values: vec![value],
        })
        .collect();
    Selector { requirements }
}

/// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
///
/// # Errors
/// With the part that cannot be read.
pub fn parse(text: &str) -> Result<Selector, String> {
    let mut requirements = Vec::new();
    for part in split(text) {
        let part = part.trim();
        if !part.is_empty() {
            requirements.push(requirement(part).ok_or_else(|| part.to_owned())?);
        }
    }
    if requirements.is_empty() {
        return Err(text.to_owned());
    }
    Ok(Selector { requirements })
}

/// The parts between commas that stand outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let of = |key: &str, operator, values: Vec<String>| {
        let key = key.trim();
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        (!key.is_empty() && key.bytes().all(letters)).then(|| Requirement {
            key: key.to_owned(),
            operator,
            values,
        })
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = part.split_once("!=") {
        return of(key, Operator::NotIn, one(value));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return of(key, Operator::In, one(value));
    }
    if let Some((front, list)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values = list
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        let (key, word) = front.trim().rsplit_once(char::is_whitespace)?;
        return match word {
            "in" => of(key, Operator::In, values),
            "notin" => of(key, Operator::NotIn, values),
            _ => None,
        };
    }
    match part.strip_prefix('!') {
        Some(key) => of(key, Operator::DoesNotExist, Vec::new()),
        None => of(part, Operator::Exists, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use weir_scheduler::Labels;

    use super::*;

    #[test]
    fn every_form_is_read() {
        let labels = Labels::from_iter([("app", "x"), ("tier/a", "1")]);
        let rows = [
            ("app=x", true),
            ("app==x, tier/a=1", true),
            ("app!=x", false),
            ("app in (y, x)", true),
            ("app notin (y,x),tier/a", false),
            ("tier/a", true),
            ("!tier/a", false),
            ("!other", true),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text).unwrap().matches(&labels), expected, "{text}");
        }
        for text in ["", ",", "a b", "a in x", "=x", "a is (x)"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
