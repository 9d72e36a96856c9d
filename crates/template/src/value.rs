//! Values of a template, with what Go knows of them beyond JSON.

use std::borrow::Cow;

use serde_json::Value as Json;

/// Fields from the root of the data to a value.
pub type Path<'d> = Vec<Cow<'d, str>>;

/// What a template is evaluated with.
#[derive(Clone, Copy, Debug)]
pub enum Data<'d> {
    /// One value.
    Whole(&'d Json),
    /// A structure whose fields are kept apart, so that nobody has to copy them together.
    Fields(&'d [(&'d str, &'d Json)]),
}

impl<'d> From<&'d Json> for Data<'d> {
    fn from(whole: &'d Json) -> Self {
        Self::Whole(whole)
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'d> {
    /// A nil pointer, at this field of the data if it is one.
    Nil(Path<'d>),
    /// The data itself, when its fields are kept apart.
    Root(&'d [(&'d str, &'d Json)]),
    /// A boolean.
    Bool(bool),
    /// A number; `set` when it is a field, which Go holds by pointer: 0 is then true.
    Int {
        /// The number.
        number: i64,
        /// Whether it is a field that is set.
        set: bool,
    },
    /// A floating number.
    Float(f64),
    /// A text.
    Str(Cow<'d, str>),
    /// A list of the data and its path.
    List(&'d [Json], Path<'d>),
    /// An object of the data and its path; a map when any name may occur in it.
    Object {
        /// The object.
        object: &'d serde_json::Map<String, Json>,
        /// Its path from the root.
        path: Path<'d>,
        /// Whether it is a map rather than a structure.
        map: bool,
    },
}

impl<'d> Value<'d> {
    /// A number that is not a field.
    #[must_use]
    pub fn int(number: i64) -> Self {
        Self::Int { number, set: false }
    }

    /// A text that was made just now.
    #[must_use]
    pub fn text(text: String) -> Self {
        Self::Str(Cow::Owned(text))
    }

    /// The value at `path` of the data.
    pub(crate) fn of(json: &'d Json, path: Path<'d>, map: bool) -> Self {
        match json {
            Json::Null => Self::Nil(path),
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Self::Int { number, set: true },
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Self::Str(Cow::Borrowed(text)),
            Json::Array(list) => Self::List(list, path),
            Json::Object(object) => Self::Object { object, path, map },
        }
    }

    /// Whether a condition holds.
    #[must_use]
    pub fn truth(&self) -> bool {
        match self {
            Self::Nil(_) => false,
            Self::Root(_) => true,
            Self::Bool(flag) => *flag,
            Self::Int { number, set } => *set || *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(list, _) => !list.is_empty(),
            Self::Object { object, map, .. } => !*map || !object.is_empty(),
        }
    }

    /// Name of the kind of value, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil(_) => "nil",
            Self::Bool(_) => "bool",
            Self::Int { .. } => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "string",
            Self::List(..) => "list",
            Self::Root(_) => "object",
            Self::Object { map: true, .. } => "map",
            Self::Object { .. } => "object",
        }
    }
}
