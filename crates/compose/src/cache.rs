//! Templates that were parsed before. The same few texts of presets and configs are evaluated for every service;
//! parsing them takes longer than that.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use weir_template::{Error, Template, Trim};

use crate::functions::Program;

/// Templates of one generation. All presets together have some three hundred.
const MAX_TEMPLATES: usize = 1024;
/// Bytes of a text that is kept. Longer ones are rare, and would make up most of the cache.
const MAX_TEXT: usize = 8 << 10;

/// Templates by their text, in two generations: when the young one is full, it becomes the old one, and what
/// nobody has asked for since is forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Arc<Template>>,
    old: HashMap<Box<str>, Arc<Template>>,
}

static TEMPLATES: LazyLock<Mutex<Generations>> = LazyLock::new(Mutex::default);

impl Generations {
    fn find(&mut self, text: &str) -> Option<Arc<Template>> {
        if let Some(found) = self.young.get(text) {
            return Some(Arc::clone(found));
        }
        let (text, found) = self.old.remove_entry(text)?;
        self.keep(text, Arc::clone(&found));
        Some(found)
    }

    fn keep(&mut self, text: Box<str>, template: Arc<Template>) {
        if self.young.len() >= MAX_TEMPLATES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text, template);
    }
}

/// The template of a text, with the functions of presets.
///
/// # Errors
/// When the text is no template.
pub(crate) fn template(text: &str) -> Result<Arc<Template>, Error> {
    // What is kept is right whatever a thread that panicked did.
    let lock = || TEMPLATES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = lock().find(text) {
        return Ok(found);
    }
    let parsed = Arc::new(Template::parse(text, Trim::Blanks, &Program::default())?);
    if text.len() <= MAX_TEXT {
        lock().keep(text.into(), Arc::clone(&parsed));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_number_is_bounded() {
        let mut all = Generations::default();
        let parse = |text: &str| {
            Arc::new(Template::parse(text, Trim::Blanks, &Program::default()).unwrap())
        };
        all.keep("wanted".into(), parse("wanted"));
        for number in 0..5 * MAX_TEMPLATES {
            let text = number.to_string();
            all.keep(text.as_str().into(), parse(&text));
            assert!(all.find("wanted").is_some(), "{number}");
            assert!(all.young.len() + all.old.len() <= 2 * MAX_TEMPLATES);
        }
        assert!(all.find("0").is_none());
    }
}
