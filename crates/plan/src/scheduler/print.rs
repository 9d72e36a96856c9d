//! A picker's configuration as YAML text, byte for byte as existing installations have it.
//!
//! A text that differs rolls the picker out, so the style is fixed: keys in alphabetical order, block style, two
//! blanks a level, `- ` in the column of the key above, no document marker, a newline at the end. The fixtures
//! are the recorded Deployments (`scheduler`, `pd`, `scheduler-config-inline`, …).

use std::collections::BTreeMap;

use serde_json::{Number, Value};

/// Width at which the reference breaks a plain text with blanks.
const WIDTH: usize = 80;

/// Returns `value` as YAML.
pub(super) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => entries(map, 0, &mut out),
        Value::Array(list) if !list.is_empty() => list_items(list, 0, &mut out),
        scalar => {
            leaf(scalar, 0, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn entries(map: &serde_json::Map<String, Value>, level: usize, out: &mut String) {
    let sorted: BTreeMap<&String, &Value> = map.iter().collect();
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            indent(level, out);
        }
        let key = text(key, level, level, true);
        out.push_str(&key);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                indent(level + 1, out);
                entries(map, level + 1, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                indent(level, out);
                list_items(list, level, out);
            }
            scalar => {
                out.push(' ');
                leaf(scalar, level, level * 2 + key.len() + 2, out);
                out.push('\n');
            }
        }
    }
}

fn list_items(list: &[Value], level: usize, out: &mut String) {
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            indent(level, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => entries(map, level + 1, out),
            Value::Array(list) if !list.is_empty() => list_items(list, level + 1, out),
            scalar => {
                leaf(scalar, level, level * 2 + 2, out);
                out.push('\n');
            }
        }
    }
}

fn indent(level: usize, out: &mut String) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

fn leaf(value: &Value, level: usize, column: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&digits(number)),
        Value::String(string) => out.push_str(&text(string, level, column, false)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// A number; one without a fraction is printed without one.
fn digits(number: &Number) -> String {
    /// Above this a double has no place for every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() < EXACT => {
            format!("{value:.0}")
        }
        _ => number.to_string(),
    }
}

/// A text in the style that it needs.
fn text(string: &str, level: usize, column: usize, key: bool) -> String {
    if string.contains('\n') && !key && literal_fits(string) {
        return literal(string, level);
    }
    if string.contains('\n')
        || string.chars().any(|c| c.is_control())
        || string.contains('\u{feff}')
    {
        return double(string);
    }
    if means_something_else(string) {
        return double(string);
    }
    if plain_fits(string) {
        return if key {
            string.to_owned()
        } else {
            fold(string, level, column)
        };
    }
    format!("'{}'", string.replace('\'', "''"))
}

/// Whether the text would be read back as something other than a text.
fn means_something_else(string: &str) -> bool {
    const WORDS: [&str; 33] = [
        "", "~", "null", "Null", "NULL", "<<", "y", "Y", "yes", "Yes", "YES", "true", "True",
        "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off",
        "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", "-.inf",
    ];
    if WORDS.contains(&string) {
        return true;
    }
    let bare = string.trim_start_matches(['+', '-']);
    if matches!(bare, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    if !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let number = bare.replace('_', "");
    let based = ["0x", "0o", "0b"].iter().any(|prefix| {
        number
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_hexdigit()))
    });
    let digits_and_colons = number.contains(':')
        && number
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, ':' | '.'));
    let date = {
        let mut parts = number.split('-');
        let long = |part: Option<&str>, least: usize, most: usize| {
            part.is_some_and(|p| {
                (least..=most).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit())
            })
        };
        long(parts.next(), 4, 4)
            && long(parts.next(), 1, 2)
            && parts
                .next()
                .is_some_and(|day| day.bytes().next().is_some_and(|b| b.is_ascii_digit()))
    };
    based
        || digits_and_colons
        || date
        || (number.parse::<f64>().is_ok() && number.contains(|c: char| c.is_ascii_digit()))
}

/// Whether the text can stand without quotes.
fn plain_fits(string: &str) -> bool {
    let Some(first) = string.chars().next() else {
        return false;
    };
    if string.starts_with("---") || string.starts_with("...") {
        return false;
    }
    let second = string.chars().nth(1);
    let blank = |c: Option<char>| c.is_none_or(|c| c == ' ' || c == '\t');
    if "#,[]{}&*!|>'\"%@`".contains(first) || ("-?:".contains(first) && blank(second)) {
        return false;
    }
    if string.starts_with(' ') || string.ends_with(' ') {
        return false;
    }
    let mut before = None;
    let mut rest = string.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ':' && blank(rest.peek().copied()) {
            return false;
        }
        if c == '#' && before == Some(' ') {
            return false;
        }
        before = Some(c);
    }
    true
}

/// Breaks a plain text at single blanks once its line is full.
fn fold(string: &str, level: usize, column: usize) -> String {
    let mut out = String::new();
    let mut column = column;
    let all: Vec<char> = string.chars().collect();
    for (index, c) in all.iter().enumerate() {
        let alone = *c == ' '
            && index > 0
            && all.get(index - 1) != Some(&' ')
            && all.get(index + 1).is_some_and(|next| *next != ' ');
        if alone && column > WIDTH {
            out.push('\n');
            indent(level + 1, &mut out);
            column = (level + 1) * 2;
        } else {
            out.push(*c);
            column += 1;
        }
    }
    out
}

/// A block keeps its lines only when none of them ends in a blank and no control character is in it.
fn literal_fits(string: &str) -> bool {
    !string.starts_with(' ')
        && !string.contains(" \n")
        && !string.ends_with(' ')
        && !string.chars().any(|c| c.is_control() && c != '\n')
}

fn literal(string: &str, level: usize) -> String {
    let mut out = String::from("|");
    let body = string.trim_end_matches('\n');
    match string.len() - body.len() {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(level + 1, &mut out);
            out.push_str(line);
        }
    }
    for _ in 1..(string.len() - body.len()) {
        out.push('\n');
    }
    out
}

fn double(string: &str) -> String {
    let mut out = String::from("\"");
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_quoted_only_where_they_must_be() {
        let table = [
            ("plain", "plain"),
            ("tcp://*:5557", "tcp://*:5557"),
            ("kv@", "kv@"),
            ("42", "\"42\""),
            ("4.5e3", "\"4.5e3\""),
            ("0x1f", "\"0x1f\""),
            ("true", "\"true\""),
            ("off", "\"off\""),
            ("", "\"\""),
            ("2024-01-02", "\"2024-01-02\""),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            ("it's", "it's"),
            ("'x'", "'''x'''"),
            (" x", "' x'"),
            ("-", "'-'"),
            ("-x", "-x"),
            ("*x", "'*x'"),
            ("v0.9", "v0.9"),
            ("0.9.1", "0.9.1"),
            ("a\tb", "\"a\\tb\""),
        ];
        for (text, want) in table {
            assert_eq!(yaml(&json!(text)), format!("{want}\n"), "{text:?}");
        }
    }

    #[test]
    fn lists_stand_in_the_column_of_their_key() {
        let value = json!({"b": [{"y": {"z": 1}, "x": [1, 2]}, [3], {}], "a": "l1\nl2\n", "c": 7.0, "d": []});
        let want = "a: |\n  l1\n  l2\nb:\n- x:\n  - 1\n  - 2\n  \"y\":\n    z: 1\n- - 3\n- {}\nc: 7\nd: []\n";
        assert_eq!(yaml(&value), want);
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let value = json!({
            "texts": ["a: b", "", "~", "1:30", "x\ny", "x\n\n", " lead", "#", "a 'b' \"c\"", "\u{7f}", "1_000", "0777",
                      "a very long plain text with many blanks that has to be broken because it is wider than a line"],
            "deep": [[[{"k": [null, true, -1.5]}]]],
        });
        let read = weir_manifest::parse(&yaml(&value), "test").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(read[0].value, value);
    }
}
