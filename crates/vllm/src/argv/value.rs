//! Values of flags as the engine's types read them, and the texts of its refusals.

use serde_json::Value;

use super::{ArgError, spelled};
use crate::flags::{Flag, Kind};

/// Checks one word given for `flag`.
pub(super) fn check(flag: &Flag, value: &str) -> Result<(), ArgError> {
    if flag.optional && matches!(value, "" | "None") {
        return Ok(());
    }
    let (known, kind) = match flag.kind {
        Kind::Int | Kind::Ints => (int(value).is_some(), "int"),
        Kind::Float => (float(value), "float"),
        Kind::Size => (size(value).is_some(), "human_readable_int"),
        Kind::SizeOrAuto => (
            value == "auto" || size(value).is_some(),
            "human_readable_int_or_auto",
        ),
        Kind::Json => (serde_json::from_str::<Value>(value).is_ok(), "loads"),
        _ => (true, ""),
    };
    let flag_text = || spelled(flag);
    if !known {
        return Err(if let Some(hint) = decimals(flag.kind, value) {
            ArgError::Decimals {
                flag: flag_text(),
                unit: hint.0,
                instead: hint.1,
            }
        } else if flag.optional {
            let what = if matches!(kind, "int" | "float") {
                "class"
            } else {
                "function"
            };
            let kind = if what == "class" {
                format!("<class '{kind}'>")
            } else {
                format!("<function {kind}>")
            };
            ArgError::Convert {
                flag: flag_text(),
                value: value.to_owned(),
                kind,
            }
        } else {
            ArgError::Type {
                flag: flag_text(),
                kind,
                value: value.to_owned(),
            }
        });
    }
    if !flag.choices.is_empty() && !flag.choices.contains(&value) {
        return Err(ArgError::Choice {
            flag: flag_text(),
            value: value.to_owned(),
            choices: flag.choices.clone(),
        });
    }
    if flag.name == "lora-modules" {
        return adapter(value);
    }
    Ok(())
}

/// The unit and the better spelling of decimals with a binary unit, which the engine refuses by a text of its own.
fn decimals(kind: Kind, value: &str) -> Option<(char, String)> {
    let unit = value.chars().next_back()?;
    let number = value.strip_suffix(['K', 'M', 'G', 'T'])?;
    (matches!(kind, Kind::Size | Kind::SizeOrAuto) && number.parse::<f64>().is_ok())
        .then(|| (unit, format!("{number}{}", unit.to_ascii_lowercase())))
}

/// An adapter is `name=path`, or an object with those two and perhaps its base model.
fn adapter(value: &str) -> Result<(), ArgError> {
    if value.is_empty() || value == "None" || (value.contains('=') && !value.contains(',')) {
        return Ok(());
    }
    let adapter = serde_json::from_str::<Value>(value)
        .map_err(|_| ArgError::AdapterJson(value.to_owned()))?;
    let fits = adapter.as_object().is_some_and(|fields| {
        ["name", "path"]
            .iter()
            .all(|field| fields.contains_key(*field))
            && fields.keys().all(|field| {
                matches!(
                    field.as_str(),
                    "name" | "path" | "base_model_name" | "is_3d_lora_weight"
                )
            })
    });
    if fits {
        Ok(())
    } else {
        Err(ArgError::AdapterFields(value.to_owned()))
    }
}

/// Reads a whole number as Python does: blanks around it, a sign, single underscores between digits.
fn int(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let proper = digits
        .split('_')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !proper {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn float(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok()
}

/// Reads `2048`, `8k` (8000), `8K` (8192), `1.5M`.
pub(super) fn size(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(number) = int(text) {
        return number.try_into().ok();
    }
    let unit = text.chars().next_back()?;
    let factor: i64 = match unit {
        'k' => 1_000,
        'm' => 1_000_000,
        'g' => 1_000_000_000,
        't' => 1_000_000_000_000,
        'K' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        'T' => 1 << 40,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor);
    }
    let decimal: f64 = number.parse().ok()?;
    // The engine allows decimals with the decimal units only.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the factor is a power of ten below 2^53"
    )]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the engine truncates as well"
    )]
    (unit.is_ascii_lowercase() && decimal.is_finite()).then_some((decimal * factor as f64) as i64)
}
