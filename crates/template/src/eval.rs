//! Nodes become text.

use std::borrow::Cow;

use crate::parse::{Node, Operand, Pipe, Term};
use crate::{Data, Declared, Error, Functions, Path, Refusal, Shape, Template, Value};
use crate::{MAX_DEPTH, MAX_FIELDS, MAX_OUTPUT, MAX_STEPS, format, functions};

pub(crate) fn render<'d>(
    template: &'d Template,
    data: Data<'d>,
    shape: &dyn Shape,
    functions: &dyn Functions,
) -> Result<String, Error> {
    let root = match data {
        Data::Whole(json) => Value::of(json, Vec::new(), false),
        Data::Fields(fields) => Value::Root(fields),
    };
    let mut run = Run {
        template,
        shape,
        functions,
        variables: vec![("", root.clone())],
        output: String::new(),
        steps: 0,
        depth: 0,
    };
    run.nodes(&template.body, &root)?;
    Ok(run.output)
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'r, 'd> {
    template: &'d Template,
    shape: &'r dyn Shape,
    functions: &'r dyn Functions,
    variables: Vec<(&'d str, Value<'d>)>,
    output: String,
    steps: usize,
    depth: usize,
}

impl<'d> Run<'_, 'd> {
    fn error(&self, at: usize, message: impl Into<String>) -> Error {
        Error::at(&self.template.text, at, message)
    }

    fn step(&mut self, at: usize) -> Result<(), Error> {
        self.charge(1, at)
    }

    fn charge(&mut self, steps: usize, at: usize) -> Result<(), Error> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS {
            return Err(self.error(at, format!("more than {MAX_STEPS} steps")));
        }
        Ok(())
    }

    fn write(&mut self, at: usize, text: &str) -> Result<(), Error> {
        if self.output.len() + text.len() > MAX_OUTPUT {
            return Err(self.error(at, format!("more than {MAX_OUTPUT} bytes of output")));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn nodes(&mut self, nodes: &'d [Node], dot: &Value<'d>) -> Result<Flow, Error> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'d Node, dot: &Value<'d>) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => {
                self.step(0)?;
                self.write(0, text)?;
            }
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.declared.is_empty() {
                    let text = format::print(&value).map_err(|e| self.error(pipe.at, e))?;
                    self.write(pipe.at, &text)?;
                }
            }
            Node::If {
                pipe,
                then,
                otherwise,
            } => return self.branch(pipe, then, otherwise, dot, false),
            Node::With {
                pipe,
                then,
                otherwise,
            } => {
                return self.branch(pipe, then, otherwise, dot, true);
            }
            Node::Range {
                pipe,
                then,
                otherwise,
            } => return self.range(pipe, then, otherwise, dot),
            Node::Template { name, pipe, at } => self.template(name, pipe.as_ref(), *at, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(
        &mut self,
        pipe: &'d Pipe,
        then: &'d [Node],
        otherwise: &'d [Node],
        dot: &Value<'d>,
        with: bool,
    ) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let value = self.pipe(pipe, dot)?;
        let flow = if value.truth() {
            self.nodes(then, if with { &value } else { dot })
        } else {
            self.nodes(otherwise, dot)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(
        &mut self,
        pipe: &'d Pipe,
        then: &'d [Node],
        otherwise: &'d [Node],
        dot: &Value<'d>,
    ) -> Result<Flow, Error> {
        let scope = self.variables.len();
        // Variables of a range hold its items, not the list: they are set below.
        let value = self.commands(pipe, dot)?;
        // All items are made before the first is looked at, so each costs its step even if the body breaks off.
        let count = match &value {
            Value::List(list, _) => list.len(),
            Value::Object { object, .. } => object.len(),
            Value::Int { number, .. } => usize::try_from((*number).max(0)).unwrap_or(usize::MAX),
            _ => 0,
        };
        self.charge(count, pipe.at)?;
        let items: Vec<(Value<'d>, Value<'d>)> = match value {
            Value::Nil(_) => Vec::new(),
            Value::List(list, path) => (0_i64..)
                .zip(list)
                .map(|(index, item)| {
                    let path = below(&path, Cow::Borrowed("[]"));
                    (Value::int(index), Value::of(item, path, false))
                })
                .collect(),
            Value::Object { object, path, .. } => {
                let mut keys: Vec<&'d String> = object.keys().collect();
                keys.sort();
                let pair = |key: &'d String| {
                    let path = below(&path, Cow::Borrowed(key));
                    let item = Value::of(&object[key], path, false);
                    (Value::Str(Cow::Borrowed(key)), item)
                };
                keys.into_iter().map(pair).collect()
            }
            Value::Int { number, .. } => (0..number)
                .map(|index| (Value::int(index), Value::int(index)))
                .collect(),
            other => {
                return Err(self.error(
                    pipe.at,
                    format!("range can't iterate over {}", other.kind()),
                ));
            }
        };
        if items.is_empty() {
            let flow = self.nodes(otherwise, dot);
            self.variables.truncate(scope);
            return flow;
        }
        for (index, item) in items {
            let values = match pipe.declared.len() {
                0 => Vec::new(),
                1 => vec![item.clone()],
                _ => vec![index, item.clone()],
            };
            for (name, value) in pipe.declared.iter().zip(values) {
                self.set(name, value, pipe.assign);
            }
            let flow = self.nodes(then, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn template(
        &mut self,
        name: &str,
        pipe: Option<&'d Pipe>,
        at: usize,
        dot: &Value<'d>,
    ) -> Result<(), Error> {
        let template = self.template;
        let Some(body) = template.defined.get(name) else {
            return Err(self.error(at, format!("template {name:?} not defined")));
        };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(
                at,
                format!("templates call each other more than {MAX_DEPTH} deep"),
            ));
        }
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil(Vec::new()),
        };
        let outer = std::mem::replace(&mut self.variables, vec![("", dot.clone())]);
        self.nodes(body, &dot)?;
        self.variables = outer;
        self.depth -= 1;
        Ok(())
    }

    fn set(&mut self, name: &'d str, value: Value<'d>, assign: bool) {
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| *known == name);
        match known {
            Some(slot) if assign => slot.1 = value,
            _ => self.variables.push((name, value)),
        }
    }

    fn commands(&mut self, pipe: &'d Pipe, dot: &Value<'d>) -> Result<Value<'d>, Error> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        last.ok_or_else(|| self.error(pipe.at, "missing value for command"))
    }

    fn pipe(&mut self, pipe: &'d Pipe, dot: &Value<'d>) -> Result<Value<'d>, Error> {
        let value = self.commands(pipe, dot)?;
        if let Some(name) = pipe.declared.first() {
            self.set(name, value.clone(), pipe.assign);
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &'d [Operand],
        dot: &Value<'d>,
        last: Option<Value<'d>>,
    ) -> Result<Value<'d>, Error> {
        let Some((first, rest)) = command.split_first() else {
            return Err(self.error(0, "missing value for command"));
        };
        let Term::Function(name) = &first.kind else {
            return self.operand(first, dot);
        };
        if name == "and" || name == "or" {
            return self.decide(name == "and", first.at, rest, dot, last);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        self.call(name, first.at, &mut arguments)
    }

    fn call(
        &mut self,
        name: &str,
        at: usize,
        arguments: &mut [Value<'d>],
    ) -> Result<Value<'d>, Error> {
        self.step(at)?;
        self.tell_maps(arguments);
        let answer = if self.functions.names().contains(&name) {
            self.functions.call(name, arguments)
        } else {
            functions::call(name, arguments).map_err(Refusal::Message)
        };
        answer.map_err(|refusal| match refusal {
            Refusal::Message(message) => self.error(at, format!("error calling {name}: {message}")),
            Refusal::Omit => Error {
                omit: true,
                ..self.error(at, "left out")
            },
        })
    }

    /// `and` and `or`: the first argument that decides is the value; those behind it are not evaluated.
    fn decide(
        &mut self,
        and: bool,
        at: usize,
        operands: &'d [Operand],
        dot: &Value<'d>,
        last: Option<Value<'d>>,
    ) -> Result<Value<'d>, Error> {
        let mut value = None;
        for operand in operands {
            let next = self.operand(operand, dot)?;
            if next.truth() != and {
                return Ok(next);
            }
            value = Some(next);
        }
        let name = if and { "and" } else { "or" };
        last.or(value)
            .ok_or_else(|| self.error(at, format!("{name} wants at least 1 argument")))
    }

    fn operand(&mut self, operand: &'d Operand, dot: &Value<'d>) -> Result<Value<'d>, Error> {
        self.step(operand.at)?;
        match &operand.kind {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Value::Nil(Vec::new())),
            Term::Bool(flag) => Ok(Value::Bool(*flag)),
            Term::Int(number) => Ok(Value::int(*number)),
            Term::Float(number) => Ok(Value::Float(*number)),
            Term::Str(text) => Ok(Value::Str(Cow::Borrowed(text))),
            Term::Field(names) => self.chain(dot.clone(), names, operand.at),
            Term::Variable(name, names) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = found.map(|(_, value)| value.clone());
                let value = value
                    .ok_or_else(|| self.error(operand.at, format!("undefined variable ${name}")))?;
                self.chain(value, names, operand.at)
            }
            Term::Function(name) => self.call(name, operand.at, &mut []),
            Term::Paren(pipe, names) => {
                let scope = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                self.variables.truncate(scope);
                self.chain(value, names, operand.at)
            }
        }
    }

    /// Functions ask whether an object is a map; a chain of fields does not.
    fn tell_maps(&self, arguments: &mut [Value<'d>]) {
        for argument in arguments {
            if let Value::Object { path, map, .. } = argument {
                *map = *map || self.is_map(path);
            }
        }
    }

    fn is_map(&self, path: &Path<'d>) -> bool {
        !path.is_empty() && self.shape.is_open(path)
    }

    fn chain(&self, value: Value<'d>, names: &'d [String], at: usize) -> Result<Value<'d>, Error> {
        let mut value = value;
        for (index, name) in names.iter().enumerate() {
            value = self.field(value, name).map_err(|problem| {
                let walked = names.get(..=index).unwrap_or_default().join(".");
                self.error(at, format!(".{walked}: {problem}"))
            })?;
        }
        Ok(value)
    }

    /// One field. Go's names match JSON names without regard to case.
    fn field(&self, value: Value<'d>, name: &'d str) -> Result<Value<'d>, String> {
        let same = |known: &str| known.eq_ignore_ascii_case(name);
        // A map's keys are data: only a structure's names have a Go spelling.
        let found = match &value {
            Value::Root(fields) => {
                let exact = fields.iter().find(|(known, _)| *known == name);
                let found = exact.or_else(|| fields.iter().find(|(known, _)| same(known)));
                found.copied()
            }
            Value::Object { object, .. } => {
                let exact = object.get_key_value(name);
                let found = exact.or_else(|| object.iter().find(|(known, _)| same(known)));
                found.map(|(known, json)| (known.as_str(), json))
            }
            Value::Nil(_) => None,
            other => {
                return Err(format!(
                    "can't evaluate field {name} in type {}",
                    other.kind()
                ));
            }
        };
        let (keys, mut path): (Option<Vec<&str>>, _) = match value {
            Value::Object { path, .. } if found.is_some() => (None, path),
            Value::Root(_) if found.is_some() => (None, Path::new()),
            Value::Root(fields) => (
                Some(fields.iter().map(|(known, _)| *known).collect()),
                Path::new(),
            ),
            Value::Object { object, path, .. } => {
                (Some(object.keys().map(String::as_str).collect()), path)
            }
            Value::Nil(path) => (None, path),
            _ => (None, Path::new()),
        };
        if path.len() >= MAX_FIELDS {
            return Err(format!("more than {MAX_FIELDS} fields lead to {name}"));
        }
        if let Some((key, json)) = found {
            path.push(Cow::Borrowed(key));
            let empty = json.as_object().is_some_and(serde_json::Map::is_empty);
            let map = empty && self.is_map(&path);
            return Ok(Value::of(json, path, map));
        }
        match self.shape.declares(&path, name) {
            Declared::As(declared) => {
                path.push(Cow::Owned(declared));
                Ok(Value::Nil(path))
            }
            Declared::Any => match keys {
                None if path.is_empty() => Err(format!("can't evaluate field {name} in type nil")),
                None => {
                    path.push(Cow::Borrowed(name));
                    Ok(Value::Nil(path))
                }
                Some(keys) => {
                    let hint = suggest(name, &keys);
                    Err(format!("map has no entry for key {name:?}{hint}"))
                }
            },
            Declared::No => {
                let fields = self.shape.fields(&path).unwrap_or_default();
                let known: Vec<&str> = fields.iter().map(String::as_str).collect();
                let hint = suggest(name, &known);
                let place = match path.is_empty() {
                    true => "the root".to_owned(),
                    false => path.join("."),
                };
                Err(format!("can't evaluate field {name} in type {place}{hint}"))
            }
        }
    }
}

fn below<'d>(path: &Path<'d>, name: Cow<'d, str>) -> Path<'d> {
    let mut path = path.clone();
    path.push(name);
    path
}

/// The nearest known name, or all of a few.
fn suggest(name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| (distance(&name.to_lowercase(), &known.to_lowercase()), known))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4);
    match near {
        Some((_, known)) => format!("; did you mean {known}?"),
        None if (1..=8).contains(&known.len()) => format!("; there are {}", known.join(", ")),
        None => String::new(),
    }
}

/// Insertions, deletions, changes and swaps of neighbours that lead from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let change = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
