//! Samples of a page, read in place: names and labels are slices of the page.

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Name of the series.
    pub name: &'a str,
    /// The text between the braces; read it with [`Sample::labels`].
    pub raw_labels: &'a str,
    /// The value.
    pub value: f64,
    /// The time at the end of the line, in milliseconds, if there is one.
    pub timestamp: Option<i64>,
}

impl<'a> Sample<'a> {
    /// Names and values of the labels; values as written, escapes included.
    #[must_use]
    pub fn labels(&self) -> Labels<'a> {
        Labels {
            rest: self.raw_labels,
        }
    }

    /// The value of a label as written.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&'a str> {
        self.labels()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

/// Iterator over labels.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Labels<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.trim_start_matches([',', ' ', '\t']);
        let (name, after) = rest.split_once('=')?;
        let quoted = after.trim_start().strip_prefix('"')?;
        let end = closing(quoted)?;
        self.rest = &quoted[end + 1..];
        Some((name.trim(), &quoted[..end]))
    }
}

/// Place of the quote that ends `text`.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index),
            _ => {}
        }
    }
    None
}

/// The samples of `page`. Comments and lines that are no sample are passed over.
pub fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' ', '\t'])?;
    let name = &line[..end];
    let (raw_labels, rest) = match line[end..].strip_prefix('{') {
        None => ("", &line[end..]),
        Some(inside) => {
            let end = closing_brace(inside)?;
            (&inside[..end], &inside[end + 1..])
        }
    };
    let mut rest = rest.split_ascii_whitespace();
    let value = match rest.next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().ok()?,
    };
    Some(Sample {
        name,
        raw_labels,
        value,
        timestamp: rest.next().and_then(|time| time.parse().ok()),
    })
}

fn closing_brace(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_slices_of_the_page() {
        let page = "# HELP a x\n# TYPE a gauge\na 1\nb{x=\"}\\\"=,\",y=\"2\"} 2.5 1700000000\n\nc{le=\"+Inf\"} +Inf\nbroken{x=\"1\n";
        let all: Vec<_> = samples(page).collect();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].name, all[0].value), ("a", 1.0));
        assert_eq!(all[1].label("x"), Some("}\\\"=,"));
        assert_eq!(all[1].label("y"), Some("2"));
        assert_eq!(all[1].label("z"), None);
        assert_eq!(
            (all[0].timestamp, all[1].timestamp),
            (None, Some(1_700_000_000))
        );
        assert_eq!(all[2].value, f64::INFINITY);
    }

    #[test]
    fn a_recorded_page_is_read_whole() {
        let shared = std::env::var("WEIR_SHARED")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared").to_owned());
        let path = format!("{shared}/captures/vllm/metrics-saturated.txt");
        let Ok(page) = std::fs::read_to_string(&path) else {
            eprintln!("SKIPPED: the recorded page is not at {path}");
            return;
        };
        let lines = page
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .count();
        assert_eq!(samples(&page).count(), lines);
        let running = samples(&page).find(|sample| sample.name == "vllm:num_requests_running");
        assert_eq!(running.map(|sample| sample.value), Some(3.0));
    }
}
