//! Writes a page of the classic text format, version 0.0.4.

use std::fmt::Write;

/// Media type of the classic text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page being written.
#[derive(Clone, Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Begins a family; `kind` is `gauge`, `counter` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.text,
            "# HELP {name} {}",
            help.replace('\\', "\\\\").replace('\n', "\\n")
        );
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
    }

    /// Writes one sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.line(name, labels, None, value);
    }

    /// Writes the samples of a histogram: `counts` of each bucket (not cumulated; one more than `bounds`, the last
    /// being what lies above all), and the `sum` of all values.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) {
        let bucket = format!("{name}_bucket");
        let mut total: u64 = 0;
        for (index, count) in counts.iter().enumerate() {
            total = total.saturating_add(*count);
            let bound = bounds
                .get(index)
                .map_or_else(|| "+Inf".to_owned(), |bound| number(*bound));
            self.line(&bucket, labels, Some(&bound), as_float(total));
        }
        self.line(&format!("{name}_sum"), labels, None, sum);
        self.line(&format!("{name}_count"), labels, None, as_float(total));
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], bound: Option<&str>, value: f64) {
        self.text.push_str(name);
        let all = labels
            .iter()
            .copied()
            .chain(bound.map(|bound| ("le", bound)));
        let mut open = false;
        for (key, value) in all {
            self.text.push(if open { ',' } else { '{' });
            open = true;
            self.text.push_str(key);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        if open {
            self.text.push('}');
        }
        self.text.push(' ');
        self.text.push_str(&number(value));
        self.text.push('\n');
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format has no other numbers"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value:?}")
    }
}

fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

/// The classic form of an OpenMetrics page: `# EOF`, `# UNIT` and exemplars are left out, and counter families are
/// named with their `_total`.
#[must_use]
pub fn classic(openmetrics: &str) -> String {
    let mut counters: Vec<&str> = Vec::new();
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ")
            && let Some((name, "counter")) = rest.split_once(' ')
        {
            counters.push(name);
        }
    }
    let mut out = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let comment = ["# TYPE ", "# HELP "].into_iter().find_map(|head| {
            let (name, rest) = line.strip_prefix(head)?.split_once(' ')?;
            Some((head, name, rest))
        });
        match comment {
            Some((head, name, rest)) => {
                let total = if counters.contains(&name) {
                    "_total"
                } else {
                    ""
                };
                let rest = if rest == "unknown" { "untyped" } else { rest };
                let _ = writeln!(out, "{head}{name}{total} {rest}");
            }
            None => {
                // An exemplar follows " # " after the value; in a label the text stands in quotes.
                let value = line.rfind("} ").map_or(0, |at| at + 2);
                let exemplar = line
                    .find("} ")
                    .and_then(|at| line[at..].find(" # {").map(|offset| at + offset));
                let end = exemplar.or_else(|| line[value..].find(" # ").map(|at| value + at));
                out.push_str(&line[..end.unwrap_or(line.len())]);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::samples;

    #[test]
    fn what_is_written_is_read_again() {
        let mut page = Page::default();
        page.family("a", "gauge", "one\ntwo");
        page.sample("a", &[], 0.5);
        page.sample("a", &[("model", "x\"y\\z")], 2.0);
        page.family("h", "histogram", "h");
        page.histogram("h", &[("m", "x")], &[0.1, 1.0], &[1, 2, 3], 7.25);
        let text = page.finish();
        let read: Vec<_> = samples(&text)
            .map(|sample| (sample.name, sample.label("le"), sample.value))
            .collect();
        assert_eq!(
            read,
            [
                ("a", None, 0.5),
                ("a", None, 2.0),
                ("h_bucket", Some("0.1"), 1.0),
                ("h_bucket", Some("1.0"), 3.0),
                ("h_bucket", Some("+Inf"), 6.0),
                ("h_sum", None, 7.25),
                ("h_count", None, 6.0),
            ]
        );
        assert!(text.contains(r#"a{model="x\"y\\z"} 2.0"#), "{text}");
    }

    #[test]
    fn openmetrics_becomes_classic_text() {
        let page = "# HELP c things\n# TYPE c counter\n# UNIT c seconds\nc_total{a=\"b\"} 3.0 # {id=\"1\"} 1.0\nc_created 1.0\n# TYPE g gauge\ng 1\n# EOF\n";
        assert_eq!(
            classic(page),
            "# HELP c_total things\n# TYPE c_total counter\nc_total{a=\"b\"} 3.0\nc_created 1.0\n# TYPE g gauge\ng 1\n"
        );
    }
}
