//! What holds for any page.

use proptest::prelude::{Strategy, any};
use proptest::{collection, prop_assert_eq, proptest};

use crate::{Page, samples};

/// A label's value without its escapes.
fn plain(written: &str) -> String {
    let mut out = String::new();
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

proptest! {
    #[test]
    fn any_label_is_read_as_it_was_written(
        values in collection::vec(any::<String>(), 1..4),
        help in any::<String>(),
        number in any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()),
    ) {
        let names = ["a", "b_c", "d1"];
        let labels: Vec<(&str, &str)> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
        let mut page = Page::default();
        page.family("x:y", "gauge", &help);
        page.sample("x:y", &labels, number);
        page.sample("z", &[], 1.0);
        let text = page.finish();
        let read: Vec<_> = samples(&text).collect();
        prop_assert_eq!(read.len(), 2);
        prop_assert_eq!(read[0].value, number);
        let found: Vec<(&str, String)> = read[0].labels().map(|(name, value)| (name, plain(value))).collect();
        let wanted: Vec<(&str, String)> = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[a-z{}\"\\\\=, #\né0-9.+]{0,60}") {
        for sample in samples(&text) {
            let _ = sample.labels().count();
        }
    }
}
