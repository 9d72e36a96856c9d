//! The classic text format with numbers as Go writes them: a bucket bound spelt otherwise is another series.

use std::fmt::Write;

use super::histogram::Counted;

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.line(name, "", labels, None, value);
    }

    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], counted: &Counted) {
        let mut total = 0;
        for (index, count) in counted.counts.iter().enumerate() {
            total += count;
            let bound = counted
                .bounds
                .get(index)
                .map_or_else(|| "+Inf".to_owned(), |bound| go_number(*bound));
            self.line(name, "_bucket", labels, Some(&bound), total as f64);
        }
        self.line(name, "_sum", labels, None, counted.sum);
        self.line(name, "_count", labels, None, total as f64);
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: f64,
    ) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let all = labels
            .iter()
            .copied()
            .chain(bound.map(|bound| ("le", bound)));
        let mut open = '{';
        for (key, value) in all {
            self.text.push(open);
            open = ',';
            self.text.push_str(key);
            self.text.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if open == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", go_number(value));
    }
}

/// A number as Go writes one with the fewest digits: with an exponent below 1e-4 and from 1e6 on.
#[must_use]
pub fn go_number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}
