//! Tokens become nodes.

use std::collections::BTreeMap;

use crate::lex::{Kind, Token};
use crate::{Error, Functions, MAX_DEPTH, functions};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Text(String),
    Action(Pipe),
    If {
        pipe: Pipe,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    With {
        pipe: Pipe,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Range {
        pipe: Pipe,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Template {
        name: String,
        pipe: Option<Pipe>,
        at: usize,
    },
    Break,
    Continue,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pipe {
    pub(crate) declared: Vec<String>,
    pub(crate) assign: bool,
    pub(crate) commands: Vec<Vec<Operand>>,
    pub(crate) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operand {
    pub(crate) kind: Term,
    pub(crate) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Term {
    Dot,
    Nil,
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Function(String),
    Paren(Box<Pipe>, Vec<String>),
}

type Defined = BTreeMap<String, Vec<Node>>;

pub(crate) fn parse(
    text: &str,
    tokens: &[Token],
    functions: &dyn Functions,
) -> Result<(Vec<Node>, Defined), Error> {
    let mut parser = Parser {
        text,
        tokens,
        next: 0,
        functions,
        variables: vec![String::new()],
        loops: 0,
        depth: 0,
        defined: BTreeMap::new(),
    };
    let (body, end) = parser.list()?;
    match end {
        End::Input => Ok((body, parser.defined)),
        End::Else(at) => parser.fail(
            at,
            "unexpected {{else}}: there is no open if, with or range",
        ),
        End::Close(at) => parser.fail(at, "unexpected {{end}}: there is no open if, with or range"),
    }
}

/// What stopped a list of nodes.
enum End {
    Input,
    Close(usize),
    /// Behind the word `else`, before what follows it.
    Else(usize),
}

struct Parser<'t> {
    text: &'t str,
    tokens: &'t [Token],
    next: usize,
    functions: &'t dyn Functions,
    variables: Vec<String>,
    loops: usize,
    depth: usize,
    defined: Defined,
}

impl<'t> Parser<'t> {
    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::at(self.text, at, message))
    }

    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.next)
    }

    fn here(&self) -> usize {
        self.peek().map_or(self.text.len(), |token| token.at)
    }

    fn eat(&mut self, kind: &Kind) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == *kind);
        self.next += usize::from(found);
        found
    }

    fn close(&mut self, what: &str) -> Result<(), Error> {
        let at = self.here();
        if self.eat(&Kind::Close) {
            Ok(())
        } else {
            self.fail(at, format!("unexpected text in {what}"))
        }
    }

    fn word(&self, offset: usize) -> Option<&'t str> {
        match self.tokens.get(self.next + offset).map(|token| &token.kind) {
            Some(Kind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn list(&mut self) -> Result<(Vec<Node>, End), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(
                self.here(),
                format!("more than {MAX_DEPTH} levels of nesting"),
            );
        }
        let mut nodes = Vec::new();
        let end = loop {
            let Some(token) = self.peek() else {
                break End::Input;
            };
            if let Kind::Text(text) = &token.kind {
                nodes.push(Node::Text(text.clone()));
                self.next += 1;
                continue;
            }
            let at = token.at;
            self.next += 1;
            let keyword = self.word(0).unwrap_or_default();
            self.next += 1;
            match keyword {
                "end" => {
                    self.close("{{end}}")?;
                    break End::Close(at);
                }
                "else" => break End::Else(at),
                "if" | "with" | "range" => nodes.push(self.control(keyword, at)?),
                "break" | "continue" => {
                    if self.loops == 0 {
                        return self.fail(at, format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
                    }
                    self.close(keyword)?;
                    nodes.push(if keyword == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    });
                }
                "define" => {
                    self.named(at)?;
                }
                "block" => {
                    let (name, pipe) = self.named(at)?;
                    nodes.push(Node::Template { name, pipe, at });
                }
                "template" => {
                    let name = self.name()?;
                    let close = self.peek().is_some_and(|token| token.kind == Kind::Close);
                    let pipe = if close { None } else { Some(self.pipe(false)?) };
                    self.close("{{template}}")?;
                    nodes.push(Node::Template { name, pipe, at });
                }
                _ => {
                    self.next -= 1;
                    let pipe = self.pipe(false)?;
                    self.close("action")?;
                    nodes.push(Node::Action(pipe));
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn name(&mut self) -> Result<String, Error> {
        let at = self.here();
        if let Some(Kind::Str(name)) = self.peek().map(|token| &token.kind) {
            self.next += 1;
            return Ok(name.clone());
        }
        self.fail(at, "a template's name must be a string")
    }

    /// Reads the rest of a `define` or, with a pipeline, of a `block`.
    fn named(&mut self, at: usize) -> Result<(String, Option<Pipe>), Error> {
        let name = self.name()?;
        let close = self.peek().is_some_and(|token| token.kind == Kind::Close);
        let pipe = if close { None } else { Some(self.pipe(false)?) };
        self.close("{{define}}")?;
        let outer = std::mem::replace(&mut self.variables, vec![String::new()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, end) = self.list()?;
        self.variables = outer;
        self.loops = loops;
        match end {
            End::Close(_) => {
                self.defined.insert(name.clone(), body);
                Ok((name, pipe))
            }
            _ => self.fail(at, format!("template {name:?} has no {{{{end}}}}")),
        }
    }

    fn control(&mut self, keyword: &str, at: usize) -> Result<Node, Error> {
        let scope = self.variables.len();
        let pipe = self.pipe(keyword == "range")?;
        self.close(keyword)?;
        self.loops += usize::from(keyword == "range");
        let (then, mut end) = self.list()?;
        self.loops -= usize::from(keyword == "range");
        let mut otherwise = Vec::new();
        if let End::Else(at) = end {
            let next = self.word(0).unwrap_or_default();
            if next == keyword && keyword != "range" {
                self.next += 1;
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self.fail(at, format!("more than {MAX_DEPTH} levels of nesting"));
                }
                otherwise.push(self.control(keyword, at)?);
                self.depth -= 1;
                end = End::Close(at);
            } else {
                self.close("{{else}}")?;
                (otherwise, end) = self.list()?;
            }
        }
        self.variables.truncate(scope);
        match end {
            End::Close(_) => {}
            End::Input => return self.fail(at, format!("{{{{{keyword}}}}} has no {{{{end}}}}")),
            End::Else(at) => {
                return self.fail(at, format!("second {{{{else}}}} of one {{{{{keyword}}}}}"));
            }
        }
        Ok(match keyword {
            "if" => Node::If {
                pipe,
                then,
                otherwise,
            },
            "with" => Node::With {
                pipe,
                then,
                otherwise,
            },
            _ => Node::Range {
                pipe,
                then,
                otherwise,
            },
        })
    }

    fn pipe(&mut self, range: bool) -> Result<Pipe, Error> {
        let mut pipe = Pipe {
            at: self.here(),
            ..Pipe::default()
        };
        self.declaration(&mut pipe, range)?;
        loop {
            let at = self.here();
            let command = self.command()?;
            let Some(first) = command.first() else {
                return self.fail(at, "missing value for command");
            };
            let callable = matches!(first.kind, Term::Function(_));
            if !callable && (command.len() > 1 || !pipe.commands.is_empty()) {
                return self.fail(first.at, "can't give argument to non-function");
            }
            pipe.commands.push(command);
            if !self.eat(&Kind::Pipe) {
                break;
            }
        }
        if !pipe.assign {
            self.variables.extend(pipe.declared.iter().cloned());
        }
        Ok(pipe)
    }

    /// Reads `$x :=`, `$x =` or, in a range, `$i, $v :=`.
    fn declaration(&mut self, pipe: &mut Pipe, range: bool) -> Result<(), Error> {
        let start = self.next;
        let mut names = Vec::new();
        while let Some(Kind::Variable(name, fields)) = self.peek().map(|token| &token.kind) {
            if !fields.is_empty() || name.is_empty() {
                break;
            }
            names.push(name.clone());
            self.next += 1;
            if !self.eat(&Kind::Comma) {
                break;
            }
        }
        let at = self.here();
        if !names.is_empty() && (self.eat(&Kind::Declare) || self.eat(&Kind::Assign)) {
            pipe.assign = self
                .tokens
                .get(self.next - 1)
                .is_some_and(|t| t.kind == Kind::Assign);
            if names.len() > if range { 2 } else { 1 } {
                return self.fail(at, "too many declarations");
            }
            if pipe.assign {
                for name in &names {
                    self.defined_variable(name, at)?;
                }
            }
            pipe.declared = names;
        } else {
            self.next = start;
        }
        Ok(())
    }

    fn defined_variable(&self, name: &str, at: usize) -> Result<(), Error> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        self.fail(
            at,
            format!("undefined variable \"${name}\": declare it with ${name} := ..."),
        )
    }

    fn command(&mut self) -> Result<Vec<Operand>, Error> {
        let mut operands = Vec::new();
        while let Some(token) = self.peek() {
            let at = token.at;
            let kind = match &token.kind {
                Kind::Close | Kind::Pipe | Kind::Right => break,
                Kind::Dot => Term::Dot,
                Kind::Field(names) => Term::Field(names.clone()),
                Kind::Variable(name, names) => {
                    self.defined_variable(name, at)?;
                    Term::Variable(name.clone(), names.clone())
                }
                Kind::Str(text) => Term::Str(text.clone()),
                Kind::Int(number) => Term::Int(*number),
                Kind::Float(number) => Term::Float(*number),
                Kind::Word(word) => match word.as_str() {
                    "true" => Term::Bool(true),
                    "false" => Term::Bool(false),
                    "nil" => Term::Nil,
                    name if functions::NAMES.contains(&name)
                        || self.functions.names().contains(&name) =>
                    {
                        Term::Function(word.clone())
                    }
                    _ => return self.fail(at, format!("function {word:?} not defined")),
                },
                Kind::Left => {
                    self.next += 1;
                    operands.push(self.parenthesis(at)?);
                    continue;
                }
                _ => return self.fail(at, "unexpected token in operand"),
            };
            self.next += 1;
            operands.push(Operand { kind, at });
        }
        Ok(operands)
    }

    fn parenthesis(&mut self, at: usize) -> Result<Operand, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(at, format!("more than {MAX_DEPTH} levels of nesting"));
        }
        let pipe = self.pipe(false)?;
        if !self.eat(&Kind::Right) {
            return self.fail(at, "unclosed left paren: add )");
        }
        self.depth -= 1;
        let mut chain = Vec::new();
        if let Some(Kind::Chain(names)) = self.peek().map(|token| &token.kind) {
            chain.clone_from(names);
            self.next += 1;
        }
        Ok(Operand {
            kind: Term::Paren(Box::new(pipe), chain),
            at,
        })
    }
}
