//! YAML as people read it: block style, a comment behind a line where there is something to say.

use serde_json::Value;
use serde_saphyr::ser_options;

/// Writes one document. `comment` may say something about the value at a JSON pointer.
///
/// # Errors
/// When the value cannot be written, which no JSON value is known for.
pub(crate) fn write(
    value: &Value,
    comment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    // Folded lines would be longer to read than long ones, and could not carry a comment.
    let options = ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, value, options)
        .map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut comments = Vec::new();
    let documents = weir_manifest::parse(&text, "rendered").map_err(|error| error.to_string())?;
    if let Some(document) = documents.first() {
        leaves(value, "", &mut |pointer| {
            let place = document.key_position(pointer).zip(comment(pointer));
            comments.extend(place.map(|(position, comment)| (position.line, comment)));
        });
    }
    if comments.is_empty() {
        return Ok(text);
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (line, comment) in comments {
        // A text of several lines begins with `|` on this one, behind which a comment may stand too.
        if let Some(line) = lines.get_mut(line - 1) {
            line.push_str("  # ");
            line.push_str(&comment);
        }
    }
    Ok(lines.join("\n") + "\n")
}

fn leaves(value: &Value, pointer: &str, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                leaves(value, &format!("{pointer}/{key}"), visit);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, &format!("{pointer}/{index}"), visit);
            }
        }
        _ => visit(pointer),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_back_with_and_without_comments() {
        let long = "word ".repeat(60);
        let value = json!({
            "empty": {}, "none": [], "null": null, "number": 1, "text": "1", "yes": "yes",
            "long": long, "lines": "a: b\n  c # d\n", "blank": "", "hash": "a # b",
            "list": [["a", "b"], {"x": {"y": "z"}}, "{{ .Name }}", "- a", "tab\there"],
            "key: with/slash~": true,
        });
        for comment in [None, Some("from # here: {".to_owned())] {
            let text = write(&value, &|_| comment.clone()).unwrap();
            let read = weir_manifest::parse(&text, "t").unwrap();
            assert_eq!(read[0].value, value, "{text}");
        }
    }
}
