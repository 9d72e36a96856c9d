//! Values computed from an answer's token counts, such as a cost: a small part of CEL.
//!
//! An expression works on `usage`, whose members are doubles under the names of the OpenAI API. It has numbers, truth
//! values, `+ - * / %`, comparisons, `&& || !`, `a ? b : c`, `has(usage.x)`, `int()`, `double()`. As in CEL a double and
//! an integer do not mix: `2 * usage.prompt_tokens` is a mistake, `2.0 * usage.prompt_tokens` is not. Types are checked
//! when the expression is read, so that a mistake is known at the start.

mod parse;

use std::fmt;

/// Token counts of an answer; `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<f64>,
    /// Tokens generated.
    pub completion_tokens: Option<f64>,
    /// Both.
    pub total_tokens: Option<f64>,
    /// Tokens of the prompt that were cached.
    pub cached_tokens: Option<f64>,
}

/// An expression that has been read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    root: Node,
    kind: Kind,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Double,
    Int,
    Bool,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Double(f64),
    Int(i64),
    Bool(bool),
}

/// A member of `usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Prompt,
    Completion,
    Total,
    Cached,
    /// One that no answer has.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Constant(Value),
    Field(Field),
    Has(Field),
    Negate(Box<Self>),
    Not(Box<Self>),
    ToInt(Box<Self>),
    ToDouble(Box<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
    Choose(Box<Self>, Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Expression {
    /// Reads an expression whose value is a number.
    ///
    /// # Errors
    /// With what is wrong and where.
    pub fn number(text: &str) -> Result<Self, String> {
        let expression = Self::parse(text)?;
        if expression.kind == Kind::Bool {
            return Err(format!("{text:?} is true or false, not a number"));
        }
        Ok(expression)
    }

    /// Reads an expression whose value is true or false.
    ///
    /// # Errors
    /// With what is wrong and where.
    pub fn condition(text: &str) -> Result<Self, String> {
        let expression = Self::parse(text)?;
        if expression.kind != Kind::Bool {
            return Err(format!("{text:?} is a number, not true or false"));
        }
        Ok(expression)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (root, kind) = parse::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            root,
            kind,
        })
    }

    /// Whether it asks for something that no answer has.
    #[must_use]
    pub fn has_unknown_fields(&self) -> bool {
        self.root.any(&|node| *node == Node::Field(Field::Unknown))
    }

    /// The value, cut to a whole number; `None` when something it needs is missing, or it is no number.
    #[must_use]
    pub fn value(&self, counts: &Counts) -> Option<f64> {
        let value = match self.root.evaluate(counts)? {
            Value::Double(value) => value.trunc(),
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
            Value::Int(value) => value as f64,
            Value::Bool(_) => return None,
        };
        value.is_finite().then_some(value)
    }

    /// Whether it holds; what cannot be said does not hold.
    #[must_use]
    pub fn holds(&self, counts: &Counts) -> bool {
        self.root.evaluate(counts) == Some(Value::Bool(true))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Field {
    fn of(self, counts: &Counts) -> Option<f64> {
        match self {
            Self::Prompt => counts.prompt_tokens,
            Self::Completion => counts.completion_tokens,
            Self::Total => counts.total_tokens,
            Self::Cached => counts.cached_tokens,
            Self::Unknown => None,
        }
    }
}

impl Node {
    fn any(&self, found: &dyn Fn(&Self) -> bool) -> bool {
        found(self)
            || match self {
                Self::Constant(_) | Self::Field(_) | Self::Has(_) => false,
                Self::Negate(inner)
                | Self::Not(inner)
                | Self::ToInt(inner)
                | Self::ToDouble(inner) => inner.any(found),
                Self::Binary(_, left, right) => left.any(found) || right.any(found),
                Self::Choose(condition, yes, no) => {
                    condition.any(found) || yes.any(found) || no.any(found)
                }
            }
    }

    fn evaluate(&self, counts: &Counts) -> Option<Value> {
        Some(match self {
            Self::Constant(value) => *value,
            Self::Field(field) => Value::Double(field.of(counts)?),
            Self::Has(field) => Value::Bool(field.of(counts).is_some()),
            Self::Negate(inner) => match inner.evaluate(counts)? {
                Value::Double(value) => Value::Double(-value),
                Value::Int(value) => Value::Int(value.checked_neg()?),
                Value::Bool(_) => return None,
            },
            Self::Not(inner) => Value::Bool(!inner.evaluate(counts)?.truth()?),
            Self::ToInt(inner) => match inner.evaluate(counts)? {
                Value::Double(value) if value.abs() < 9e18 =>
                {
                    #[expect(clippy::cast_possible_truncation, reason = "checked")]
                    Value::Int(value as i64)
                }
                Value::Int(value) => Value::Int(value),
                _ => return None,
            },
            Self::ToDouble(inner) => match inner.evaluate(counts)? {
                #[expect(clippy::cast_precision_loss, reason = "as CEL does")]
                Value::Int(value) => Value::Double(value as f64),
                Value::Double(value) => Value::Double(value),
                Value::Bool(_) => return None,
            },
            Self::Choose(condition, yes, no) => {
                let taken = if condition.evaluate(counts)?.truth()? {
                    yes
                } else {
                    no
                };
                taken.evaluate(counts)?
            }
            // Either side decides alone, even when the other cannot be said.
            Self::Binary(Operator::And, left, right) => {
                decide(left.evaluate(counts), right.evaluate(counts), false)?
            }
            Self::Binary(Operator::Or, left, right) => {
                decide(left.evaluate(counts), right.evaluate(counts), true)?
            }
            Self::Binary(operator, left, right) => {
                operator.apply(left.evaluate(counts)?, right.evaluate(counts)?)?
            }
        })
    }
}

fn decide(left: Option<Value>, right: Option<Value>, decisive: bool) -> Option<Value> {
    let (left, right) = (left.and_then(Value::truth), right.and_then(Value::truth));
    if left == Some(decisive) || right == Some(decisive) {
        return Some(Value::Bool(decisive));
    }
    left.zip(right).map(|_| Value::Bool(!decisive))
}

impl Value {
    fn truth(self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(truth),
            _ => None,
        }
    }
}

impl Operator {
    fn apply(self, left: Value, right: Value) -> Option<Value> {
        match (left, right) {
            (Value::Double(a), Value::Double(b)) => Some(match self {
                Self::Add => Value::Double(a + b),
                Self::Subtract => Value::Double(a - b),
                Self::Multiply => Value::Double(a * b),
                Self::Divide => Value::Double(a / b),
                _ => Value::Bool(self.compare(a.partial_cmp(&b))?),
            }),
            (Value::Int(a), Value::Int(b)) => Some(match self {
                Self::Add => Value::Int(a.checked_add(b)?),
                Self::Subtract => Value::Int(a.checked_sub(b)?),
                Self::Multiply => Value::Int(a.checked_mul(b)?),
                Self::Divide => Value::Int(a.checked_div(b)?),
                Self::Remainder => Value::Int(a.checked_rem(b)?),
                _ => Value::Bool(self.compare(Some(a.cmp(&b)))?),
            }),
            (Value::Bool(a), Value::Bool(b)) => Some(Value::Bool(self.compare(Some(a.cmp(&b)))?)),
            _ => None,
        }
    }

    fn compare(self, order: Option<std::cmp::Ordering>) -> Option<bool> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        Some(match self {
            Self::Equal => order == Some(Equal),
            Self::NotEqual => order != Some(Equal),
            Self::Less => order == Some(Less),
            Self::AtMost => matches!(order, Some(Less | Equal)),
            Self::Greater => order == Some(Greater),
            Self::AtLeast => matches!(order, Some(Greater | Equal)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
