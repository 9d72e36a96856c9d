//! Kubernetes quantities: read, added, and written as an API server writes them back.

/// An amount such as `1.5Gi`, exact to a billionth, with the family of units in which it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    /// Billionths.
    nano: i128,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// `Ki`, `Mi`, ...
    Binary,
    /// `k`, `M`, ..., and no unit.
    Decimal,
    /// `e3`, `E6`, ...
    Exponent,
}

const NANO: i128 = 1_000_000_000;

/// Powers of 1024.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Powers of 1000, from the smallest.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

impl Quantity {
    /// Nothing at all: the sum of no quantities.
    pub(crate) const ZERO: Self = Self {
        nano: 0,
        family: Family::Decimal,
    };

    /// Reads a quantity; what is below a billionth counts as one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = digits
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(digits.len());
        let (number, unit) = digits.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let (factor, divisor, family) = unit_of(unit)?;
        let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let amount = mantissa.checked_mul(factor)?.checked_mul(NANO)?;
        let divisor = scale.checked_mul(divisor)?;
        let nano = amount.checked_add(divisor - 1)? / divisor;
        Some(Self {
            nano: if negative { -nano } else { nano },
            family,
        })
    }

    /// The sum, in the units of `self` unless it is zero.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            nano: self.nano.checked_add(other.nano)?,
            family: if self.nano == 0 {
                other.family
            } else {
                self.family
            },
        })
    }
}

/// Factor and divisor of a unit.
fn unit_of(unit: &str) -> Option<(i128, i128, Family)> {
    if let Some(power) = BINARY.iter().position(|known| *known == unit) {
        let factor = 1024_i128.checked_pow(u32::try_from(power + 1).ok()?)?;
        return Some((factor, 1, Family::Binary));
    }
    if let Some(at) = DECIMAL.iter().position(|known| *known == unit) {
        let power = |steps: usize| 1000_i128.checked_pow(u32::try_from(steps).ok()?);
        return match at.checked_sub(3) {
            Some(up) => Some((power(up)?, 1, Family::Decimal)),
            None => Some((1, power(3 - at)?, Family::Decimal)),
        };
    }
    let exponent: i32 = unit.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 {
        (1, power, Family::Exponent)
    } else {
        (power, 1, Family::Exponent)
    })
}

impl std::fmt::Display for Quantity {
    /// The canonical form: no fraction, and the largest unit that allows it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let small = self.nano.abs() < 1024 * NANO;
        if self.family == Family::Binary && !small {
            let up = if self.nano > 0 { NANO - 1 } else { 0 };
            let mut number = (self.nano + up).div_euclid(NANO);
            let mut unit = "";
            for next in BINARY {
                if number % 1024 != 0 {
                    break;
                }
                number /= 1024;
                unit = next;
            }
            return write!(f, "{number}{unit}");
        }
        let mut number = self.nano;
        let mut power = 0;
        while power + 1 < DECIMAL.len() && number != 0 && number % 1000 == 0 {
            number /= 1000;
            power += 1;
        }
        if number == 0 {
            return f.write_str("0");
        }
        match (self.family, DECIMAL[power]) {
            (Family::Exponent, "") => write!(f, "{number}"),
            (Family::Exponent, _) => {
                let steps = i32::try_from(power).unwrap_or(0) - 3;
                write!(f, "{number}e{}", steps * 3)
            }
            (_, unit) => write!(f, "{number}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn quantities_are_written_as_an_api_server_writes_them_back() {
        let table = [
            ("50Gi", "50Gi"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Ki", "1000Ki"),
            ("512", "512"),
            ("0.5Gi", "512Mi"),
            ("100", "100"),
            ("1000", "1k"),
            ("2048", "2048"),
            ("0.1", "100m"),
            ("1e3", "1e3"),
            ("5e2", "500"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1.0000000001", "1000000001n"),
            ("-1Gi", "-1Gi"),
            ("0.0005Ki", "512m"),
        ];
        for (text, canonical) in table {
            let read = Quantity::parse(text).map(|quantity| quantity.to_string());
            assert_eq!(read.as_deref(), Some(canonical), "{text}");
        }
        for text in ["", "Gi", "1.2.3", "1GB", "x", "1e", "."] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sums_keep_the_units_of_the_first() {
        let sum = |texts: &[&str]| {
            let total = texts.iter().try_fold(Quantity::ZERO, |total, text| {
                total.plus(Quantity::parse(text)?)
            });
            total.map(|total| total.to_string()).unwrap_or_default()
        };
        assert_eq!(sum(&["5Gi", "50Gi", "1.5Gi"]), "57856Mi");
        assert_eq!(sum(&["5G", "1Ki"]), "5000001024");
        assert_eq!(sum(&[]), "0");
    }
}
