//! The JSON of one key of the global configuration. A field that is absent, null or an empty text is the default; one
//! of another type is an error, as it is to the controller that the file may have been written for.

use serde_json::Value;

/// Fields by their paths, whose parts have dots between them.
pub(crate) struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    pub(crate) fn of(json: &'a Value) -> Self {
        Self(json)
    }

    fn at(&self, path: &str) -> Result<Option<&'a Value>, String> {
        let mut value = self.0;
        let mut parent = "the value";
        for name in path.split('.') {
            value = match value {
                Value::Null => return Ok(None),
                Value::Object(fields) => match fields.get(name) {
                    Some(field) => field,
                    None => return Ok(None),
                },
                other => return Err(wrong(parent, other, "an object")),
            };
            parent = name;
        }
        Ok(Some(value).filter(|value| !value.is_null()))
    }

    fn read<T>(
        &self,
        path: &str,
        of_type: impl Fn(&'a Value) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.at(path)? else {
            return Ok(None);
        };
        of_type(value)
            .map(Some)
            .ok_or_else(|| wrong(path, value, wanted))
    }

    /// Whether the field is there, be it null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    /// A text, if there is one.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>, String> {
        let text = self.read(path, Value::as_str, "a text")?;
        Ok(text.filter(|text| !text.is_empty()).map(str::to_owned))
    }

    /// Whether something is switched on, where anything is said of it.
    pub(crate) fn switch(&self, path: &str) -> Result<Option<bool>, String> {
        self.read(path, Value::as_bool, "true or false")
    }

    /// A whole number.
    pub(crate) fn number(&self, path: &str) -> Result<Option<i64>, String> {
        self.read(path, Value::as_i64, "a whole number")
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, path: &str) -> Result<Vec<String>, String> {
        let all = |value: &Value| -> Option<Vec<String>> {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let found = self.read(path, all, "a list of texts")?;
        let mut found = found.unwrap_or_default();
        found.retain(|text| !text.is_empty());
        Ok(found)
    }
}

fn wrong(path: &str, value: &Value, wanted: &str) -> String {
    format!("{path} is {value}, and must be {wanted}")
}
