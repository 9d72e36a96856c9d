//! Quantities of resources as whole numbers, for `resourceFieldRef`.

/// Billionths of one: what every suffix is a whole number of.
const ONE: u128 = 1_000_000_000;

/// A quantity divided by `divisor`, rounded up; beyond 2⁶³-1 it is that number, as in Kubernetes.
/// `None` where one of them is no quantity, or the divisor is zero.
pub(crate) fn divided(text: &str, divisor: &str) -> Option<u128> {
    let by = match divisor {
        // Not set.
        "" | "0" => ONE,
        divisor => billionths(divisor)?,
    };
    let by = (by > 0).then_some(by)?;
    Some(billionths(text)?.div_ceil(by).min(i64::MAX as u128))
}

/// A quantity in billionths, at most what the type holds.
fn billionths(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(fraction) {
        return None;
    }
    let (up, down) = scale(suffix)?;
    // A number too long to hold is as good as the largest one.
    let read = |text: &str| match text {
        "" => 0,
        text => text.parse::<u128>().unwrap_or(u128::MAX),
    };
    let fraction = &fraction[..fraction.len().min(9)];
    let places = u32::try_from(fraction.len()).ok()?;
    let parts = read(fraction).saturating_mul(10_u128.pow(9 - places));
    let all = read(whole).saturating_mul(ONE).saturating_add(parts);
    Some(all.saturating_mul(up).div_ceil(down))
}

/// Factor and divisor of a suffix.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power = exponent.strip_prefix(['e', 'E'])?.parse::<i8>().ok()?;
            let factor = 10_u128
                .checked_pow(u32::from(power.unsigned_abs()))
                .unwrap_or(u128::MAX);
            if power < 0 { (1, factor) } else { (factor, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_whole_numbers() {
        let most = Some(i64::MAX as u128);
        let long = "9".repeat(60);
        for (text, divisor, wanted) in [
            ("100m", "", Some(1)),
            ("100m", "1m", Some(100)),
            ("2", "0", Some(2)),
            ("1Gi", "", Some(1 << 30)),
            ("1Gi", "1Mi", Some(1024)),
            ("1.5", "1", Some(2)),
            ("1.5Gi", "", Some(3 << 29)),
            (".5", "1m", Some(500)),
            ("1e3", "", Some(1000)),
            ("1E3", "", Some(1000)),
            ("2E", "", Some(2_000_000_000_000_000_000)),
            ("5e-1", "", Some(1)),
            ("16Ei", "", most),
            ("999999999999999999999999999999999999999Ti", "", most),
            (&long, "", most),
            ("1e99", "", most),
            ("1", "x", None),
            ("1", "0m", None),
            ("-1", "", None),
            ("", "", None),
            (".", "", None),
            ("1.2.3", "", None),
            ("1é", "", None),
            ("Gi", "", None),
        ] {
            assert_eq!(divided(text, divisor), wanted, "{text} by {divisor}");
        }
    }
}
