//! How values are printed.

use crate::Value;

/// The text of a value; a nil has none.
pub(crate) fn print(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::Nil(path) if path.is_empty() => return Err("nil cannot be printed".to_owned()),
        Value::Nil(path) => {
            return Err(format!(
                "{} is not set: set it, or guard with {{{{ if ... }}}}",
                path.join(".")
            ));
        }
        Value::Bool(flag) => flag.to_string(),
        Value::Int { number, .. } => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Str(text) => text.to_string(),
        Value::Root(_) => return Err("the whole data cannot be printed".to_owned()),
        Value::List(list, path) => {
            let items: Result<Vec<String>, String> = list
                .iter()
                .map(|item| print(&Value::of(item, path.clone(), true)))
                .collect();
            format!("[{}]", items?.join(" "))
        }
        Value::Object { object, path, .. } => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort();
            let items: Result<Vec<String>, String> = keys
                .into_iter()
                .map(|key| {
                    Ok(format!(
                        "{key}:{}",
                        print(&Value::of(&object[key], path.clone(), true))?
                    ))
                })
                .collect();
            format!("map[{}]", items?.join(" "))
        }
    })
}

/// Go's `%v` of a float: the shortest digits, with an exponent from 1e21 or below 1e-4.
fn float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) && number.is_finite() {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    number.to_string()
}

/// Go's quoted string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `printf`.
pub(crate) fn printf(layout: &str, arguments: &[Value<'_>]) -> Result<String, String> {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut chars = layout.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let (mut left, mut zero, mut plus, mut sharp) = (false, false, false, false);
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | '#' | ' ')) {
            match flag {
                '-' => left = true,
                '0' => zero = true,
                '+' => plus = true,
                _ => sharp |= flag == '#',
            }
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().unwrap_or_default().min(4096)
        };
        let width = number(&mut chars);
        let precision = chars.next_if_eq(&'.').map(|_| number(&mut chars));
        let verb = chars
            .next()
            .ok_or("format ends behind %: write %% for a per cent sign")?;
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("no argument for %{verb}"))?;
        let mut field = verb_text(verb, value, precision, sharp)?;
        if plus && matches!(value, Value::Int { .. } | Value::Float(_)) && !field.starts_with('-') {
            field.insert(0, '+');
        }
        let pad = width.saturating_sub(field.chars().count());
        if left {
            field.push_str(&" ".repeat(pad));
        } else if zero && matches!(value, Value::Int { .. } | Value::Float(_)) {
            let sign = usize::from(field.starts_with(['-', '+']));
            field.insert_str(sign, &"0".repeat(pad));
        } else {
            field.insert_str(0, &" ".repeat(pad));
        }
        text.push_str(&field);
    }
    if arguments.next().is_some() {
        return Err("more arguments than the format has verbs".to_owned());
    }
    Ok(text)
}

fn verb_text(
    verb: char,
    value: &Value<'_>,
    precision: Option<usize>,
    sharp: bool,
) -> Result<String, String> {
    let cut = |text: String| match precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text,
    };
    Ok(match (verb, value) {
        ('s', Value::Str(text)) => cut(text.to_string()),
        ('q', Value::Str(text)) => quote(&cut(text.to_string())),
        ('v', Value::Str(text)) if sharp => quote(text),
        ('v', Value::Float(number)) if precision.is_some() => {
            format!("{number:.*}", precision.unwrap_or_default())
        }
        ('v', value) | ('s', value @ (Value::List(..) | Value::Object { .. } | Value::Nil(_))) => {
            print(value)?
        }
        ('t', Value::Bool(flag)) => flag.to_string(),
        ('d', Value::Int { number, .. }) => number.to_string(),
        ('x', Value::Int { number, .. }) => radix(*number, format!("{:x}", number.unsigned_abs())),
        ('X', Value::Int { number, .. }) => radix(*number, format!("{:X}", number.unsigned_abs())),
        ('o', Value::Int { number, .. }) => radix(*number, format!("{:o}", number.unsigned_abs())),
        ('b', Value::Int { number, .. }) => radix(*number, format!("{:b}", number.unsigned_abs())),
        ('x', Value::Str(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('f' | 'F', Value::Float(number)) => format!("{number:.*}", precision.unwrap_or(6)),
        ('g', Value::Float(number)) => float(*number),
        ('c', Value::Int { number, .. }) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32);
            c.unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
        }
        (_, Value::Nil(_)) => print(value)?,
        (verb, value) => return Err(format!("%{verb} does not fit a {}: use %v", value.kind())),
    })
}

fn radix(number: i64, digits: String) -> String {
    if number < 0 {
        format!("-{digits}")
    } else {
        digits
    }
}
