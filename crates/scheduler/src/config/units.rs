//! Durations as Go writes them, quantities as Kubernetes does.

use std::time::Duration;

/// Reads `1m30s`, `50ms`, `0`.
///
/// # Errors
/// When it is no duration, or negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    let invalid =
        || format!("invalid duration {text:?}; write it as \"30s\", \"1m30s\" or \"50ms\"");
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if let Some(positive) = text.strip_prefix('-') {
        duration(positive).map_err(|_| invalid())?;
        return Err(format!("must not be negative, got {text}"));
    }
    let mut rest = unsigned;
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(invalid()),
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// A duration given as a number of nanoseconds.
///
/// # Errors
/// When it is negative.
pub fn from_nanos(nanos: i64) -> Result<Duration, String> {
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| format!("must not be negative, got {nanos}ns"))
}

/// Reads `100`, `1k`, `10Gi`, `1e3`; rounds up to a whole number.
///
/// # Errors
/// When it is no quantity, negative, or too large.
pub fn quantity(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid quantity {text:?}; write it as 100, \"10k\" or \"10Gi\"");
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => {
            let digits = exponent
                .strip_prefix(['e', 'E'])
                .and_then(|digits| digits.parse::<i32>().ok())
                .ok_or_else(invalid)?;
            10f64.powi(digits)
        }
    };
    let value = (number * factor).ceil();
    if value < 0.0 {
        return Err(format!("must not be negative, got {text}"));
    }
    if !value.is_finite() || value >= 9.2e18 {
        return Err(format!("{text} is too large"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above"
    )]
    Ok(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("50ms", 50),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("+2s", 2000),
            (".5s", 500),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        for text in ["", "5", "soon", "-", "1x", "s", "1s2", "1..2s"] {
            assert!(duration(text).unwrap_err().starts_with("invalid"), "{text}");
        }
        assert_eq!(
            duration("-1s").unwrap_err(),
            "must not be negative, got -1s"
        );
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, value) in [
            ("0", 0),
            ("100", 100),
            ("1k", 1000),
            ("10Gi", 10 << 30),
            ("1e3", 1000),
            ("2E3", 2000),
            ("1500m", 2),
            ("0.5Ki", 512),
            ("1E", 1_000_000_000_000_000_000),
        ] {
            assert_eq!(quantity(text).unwrap(), value, "{text}");
        }
        for text in ["", "x", "1KB", "Ki", "1e"] {
            assert!(quantity(text).unwrap_err().starts_with("invalid"), "{text}");
        }
        assert!(quantity("-1").unwrap_err().contains("negative"));
        assert!(quantity("99E").unwrap_err().contains("too large"));
    }
}
