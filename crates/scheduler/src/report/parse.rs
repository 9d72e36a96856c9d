//! Reads expressions: precedence from the conditional down to members, types checked on the way.

use super::{Field, Kind, Node, Operator, Value};

/// Longest expression, in bytes; it also bounds how deep a chain of operators is.
const MAX_LENGTH: usize = 1024;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// Operators from the loosest to the tightest.
const LEVELS: &[&[(&str, Operator)]] = &[
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[
        ("*", Operator::Multiply),
        ("/", Operator::Divide),
        ("%", Operator::Remainder),
    ],
];

type Typed = (Node, Kind);

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Typed, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the expression is longer than {MAX_LENGTH} bytes"));
    }
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let found = reader.conditional()?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.wrong("an operator"));
    }
    Ok(found)
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn wrong(&self, wanted: &str) -> String {
        let column = self.text[..self.at].chars().count() + 1;
        let found: String = self.rest().chars().take(12).collect();
        if found.is_empty() {
            format!("{:?}, column {column}: {wanted} is missing", self.text)
        } else {
            format!(
                "{:?}, column {column}: {wanted} is missing before {found:?}",
                self.text
            )
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.wrong(&format!("{token:?}")))
        }
    }

    fn conditional(&mut self) -> Result<Typed, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!(
                "the expression is nested more than {MAX_DEPTH} deep"
            ));
        }
        let (condition, kind) = self.level(0)?;
        let found = if self.take("?") {
            let (yes, yes_kind) = self.conditional()?;
            self.expect(":")?;
            let (no, no_kind) = self.conditional()?;
            if kind != Kind::Bool || yes_kind != no_kind {
                return Err(self.mismatch("?:", kind, yes_kind));
            }
            (
                Node::Choose(condition.into(), yes.into(), no.into()),
                yes_kind,
            )
        } else {
            (condition, kind)
        };
        self.depth -= 1;
        Ok(found)
    }

    fn level(&mut self, level: usize) -> Result<Typed, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let (mut left, mut kind) = self.level(level + 1)?;
        loop {
            let Some((token, operator)) = operators.iter().find(|(token, _)| self.take(token))
            else {
                return Ok((left, kind));
            };
            let (right, right_kind) = self.level(level + 1)?;
            let Some(result) = operator.result(kind, right_kind) else {
                return Err(self.mismatch(token, kind, right_kind));
            };
            left = Node::Binary(*operator, left.into(), right.into());
            kind = result;
        }
    }

    fn mismatch(&self, token: &str, left: Kind, right: Kind) -> String {
        let name = |kind| match kind {
            Kind::Double => "double",
            Kind::Int => "int",
            Kind::Bool => "bool",
        };
        format!(
            "{:?}: no such overload: {} {token} {} (members of usage are doubles: write 2.0, not 2)",
            self.text,
            name(left),
            name(right)
        )
    }

    fn unary(&mut self) -> Result<Typed, String> {
        self.space();
        let mut signs = Vec::new();
        while let Some(sign) = ["!", "-"].into_iter().find(|sign| self.take(sign)) {
            signs.push(sign);
            if signs.len() > MAX_DEPTH {
                return Err(format!("the expression has more than {MAX_DEPTH} signs"));
            }
        }
        let (mut node, kind) = self.primary()?;
        for sign in signs.into_iter().rev() {
            node = match (sign, kind) {
                ("!", Kind::Bool) => Node::Not(node.into()),
                ("-", Kind::Double | Kind::Int) => Node::Negate(node.into()),
                _ => return Err(self.mismatch(sign, kind, kind)),
            };
        }
        Ok((node, kind))
    }

    fn primary(&mut self) -> Result<Typed, String> {
        if self.take("(") {
            let inner = self.conditional()?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.space();
        if self
            .rest()
            .starts_with(|c: char| c.is_ascii_digit() || c == '.')
        {
            return self.number();
        }
        let before = self.at;
        match self.word() {
            "true" => Ok((Node::Constant(Value::Bool(true)), Kind::Bool)),
            "false" => Ok((Node::Constant(Value::Bool(false)), Kind::Bool)),
            "usage" => Ok((Node::Field(self.field()?), Kind::Double)),
            "has" => {
                self.expect("(")?;
                self.space();
                if self.word() != "usage" {
                    return Err(self.wrong("a member of usage"));
                }
                let field = self.field()?;
                self.expect(")")?;
                Ok((Node::Has(field), Kind::Bool))
            }
            name @ ("int" | "double") => {
                let to_int = name == "int";
                self.expect("(")?;
                let (inner, kind) = self.conditional()?;
                self.expect(")")?;
                match (kind, to_int) {
                    (Kind::Bool, _) => {
                        Err(self.mismatch(if to_int { "int" } else { "double" }, kind, kind))
                    }
                    (_, true) => Ok((Node::ToInt(inner.into()), Kind::Int)),
                    (_, false) => Ok((Node::ToDouble(inner.into()), Kind::Double)),
                }
            }
            _ => {
                self.at = before;
                Err(self.wrong("a number or a member of usage"))
            }
        }
    }

    fn word(&mut self) -> &str {
        let end = self
            .rest()
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or_else(|| self.rest().len());
        let start = self.at;
        self.at += end;
        &self.text[start..self.at]
    }

    /// The members after `usage`.
    fn field(&mut self) -> Result<Field, String> {
        let mut path = Vec::new();
        while self.take(".") {
            self.space();
            let name = self.word().to_owned();
            if name.is_empty() {
                return Err(self.wrong("a name"));
            }
            path.push(name);
        }
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        Ok(match path.as_slice() {
            [] => return Err(self.wrong("a member of usage")),
            ["prompt_tokens"] => Field::Prompt,
            ["completion_tokens"] => Field::Completion,
            ["total_tokens"] => Field::Total,
            ["cached_tokens" | "cached_token_count"]
            | [
                "prompt_tokens_details" | "prompt_token_details",
                "cached_tokens",
            ] => Field::Cached,
            _ => Field::Unknown,
        })
    }

    fn number(&mut self) -> Result<Typed, String> {
        let rest = self.rest();
        let mut end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        if rest[end..].starts_with(['e', 'E']) {
            let exponent = &rest[end + 1..];
            let sign = usize::from(exponent.starts_with(['+', '-']));
            let digits = exponent[sign..]
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(exponent.len() - sign);
            end += 1 + sign + digits;
        }
        let text = &rest[..end];
        let found = if text.contains(['.', 'e', 'E']) {
            let value = text.parse().map(Value::Double).ok();
            value.map(|value| (Node::Constant(value), Kind::Double))
        } else {
            let value = text.parse().map(Value::Int).ok();
            value.map(|value| (Node::Constant(value), Kind::Int))
        };
        match found {
            Some(found) => {
                self.at += end;
                Ok(found)
            }
            None => Err(self.wrong("a number")),
        }
    }
}

impl Operator {
    /// The type of the result; `None` when the operands do not go together.
    fn result(self, left: Kind, right: Kind) -> Option<Kind> {
        match self {
            Self::And | Self::Or => (left == Kind::Bool && right == Kind::Bool).then_some(left),
            Self::Equal | Self::NotEqual => (left == right).then_some(Kind::Bool),
            // CEL compares numbers of either type with each other only where asked to: keep to one type.
            Self::Less | Self::AtMost | Self::Greater | Self::AtLeast => {
                (left == right).then_some(Kind::Bool)
            }
            Self::Remainder => (left == Kind::Int && right == Kind::Int).then_some(left),
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide => {
                (left == right && left != Kind::Bool).then_some(left)
            }
        }
    }
}
