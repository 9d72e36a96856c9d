//! Headers of a message as they came.

use std::collections::HashMap;

use bytes::Bytes;

use crate::pb::{HeaderMap, HeaderValue};

/// From this many headers on, repeated names are found by a map.
const MANY: usize = 48;

/// Headers in their order; look-ups give the last of a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(pub Vec<HeaderValue>);

impl Headers {
    /// Headers of a request: names in lower case.
    #[must_use]
    pub fn lowered(map: Option<HeaderMap>) -> Self {
        let mut headers = map.unwrap_or_default().headers;
        for header in &mut headers {
            header.key.make_ascii_lowercase();
        }
        Self(headers)
    }

    /// Headers as they are.
    #[must_use]
    pub fn as_sent(map: Option<HeaderMap>) -> Self {
        Self(map.unwrap_or_default().headers)
    }

    /// The last value of a header.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .rev()
            .find(|header| header.key.eq_ignore_ascii_case(name))
            .map(HeaderValue::bytes)
    }

    /// The last value of a header, when it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }

    /// The value under the first of the names that is there at all, even if it is empty.
    #[must_use]
    pub fn first_of(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.text(name))
    }

    /// Passes on every header whose name stands once.
    pub(crate) fn take_single(self, mut pass: impl FnMut(HeaderValue)) {
        if self.0.len() < MANY {
            let single: Vec<bool> = (0..self.0.len())
                .map(|one| {
                    let same =
                        |other: &HeaderValue| other.key.eq_ignore_ascii_case(&self.0[one].key);
                    self.0.iter().filter(|other| same(other)).count() == 1
                })
                .collect();
            for (header, single) in self.0.into_iter().zip(single) {
                if single {
                    pass(header);
                }
            }
            return;
        }
        let mut count: HashMap<String, usize> = HashMap::with_capacity(self.0.len());
        for header in &self.0 {
            *count.entry(header.key.to_ascii_lowercase()).or_default() += 1;
        }
        for header in self.0 {
            if count.get(&header.key.to_ascii_lowercase()) == Some(&1) {
                pass(header);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(key: &str, value: &str) -> HeaderValue {
        HeaderValue {
            key: key.to_owned(),
            value: Bytes::new(),
            raw_value: Bytes::copy_from_slice(value.as_bytes()),
        }
    }

    #[test]
    fn repeated_names_are_found_in_few_and_in_many() {
        for more in [0, MANY] {
            let mut all = vec![header("a", "1"), header("B", "2"), header("A", "3")];
            all.extend((0..more).map(|index| header(&format!("x{index}"), "y")));
            let headers = Headers(all);
            assert_eq!(headers.text("a"), Some("3"));
            let mut left = Vec::new();
            headers.take_single(|header| left.push(header.key));
            assert_eq!(left.len(), 1 + more);
            assert_eq!(left[0], "B");
        }
    }
}
