//! Durations as Go writes them: `200ms`, `1.5s`, `1h30m`.

const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
];

/// Reads a duration; returns nanoseconds.
///
/// # Errors
/// With what is wrong with the text, in Go's words.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (if text.starts_with('-') { -1.0 } else { 1.0 }, rest),
        None => (1.0, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = &rest[..end];
        rest = &rest[end..];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        total += number * factor;
    }
    // 2^63 nanoseconds are what Go can hold.
    if total >= 9_223_372_036_854_775_808.0 {
        return Err(invalid());
    }
    Ok((sign * total) as i64)
}

/// Writes nanoseconds as Go prints them, for whole milliseconds and seconds.
#[must_use]
pub fn text(nanoseconds: i64) -> String {
    const MILLISECOND: i64 = 1_000_000;
    if nanoseconds != 0 && nanoseconds % (1000 * MILLISECOND) != 0 && nanoseconds % MILLISECOND == 0
    {
        return format!("{}ms", nanoseconds / MILLISECOND);
    }
    let seconds = nanoseconds as f64 / 1e9;
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let rows = [
            ("200ms", Ok(200_000_000)),
            ("1.5s", Ok(1_500_000_000)),
            ("2m", Ok(120_000_000_000)),
            ("1h30m", Ok(5_400_000_000_000)),
            ("300us", Ok(300_000)),
            ("0", Ok(0)),
            ("-1s", Ok(-1_000_000_000)),
            ("200", Err("time: missing unit in duration \"200\"")),
            ("abc", Err("time: invalid duration \"abc\"")),
            ("", Err("time: invalid duration \"\"")),
            ("1x", Err("time: unknown unit \"x\" in duration \"1x\"")),
        ];
        for (given, wanted) in rows {
            assert_eq!(parse(given), wanted.map_err(str::to_owned), "{given}");
        }
        assert_eq!(text(0), "0s");
        assert_eq!(text(200_000_000), "200ms");
        assert_eq!(text(-1_500_000_000), "-1500ms");
        assert_eq!(text(30_000_000_000), "30s");
    }
}
