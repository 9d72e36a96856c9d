//! From the events of the YAML parser to trees.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Value;

use crate::scalar::resolve;
use crate::tree::{Content, Entry, MAX_NODES, Node};
use crate::{Failure, Position, Scalar};

pub(crate) fn read(text: &str) -> Result<Vec<Arc<Node>>, Failure> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.block_scalar_eof_without_line_feed = true;
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| explain(text, &error))?;
        builder.event(event, &span)?;
        if builder.spent > MAX_NODES {
            let what =
                format!("the file has more than {MAX_NODES} values up to here, aliases expanded");
            return Err(Failure::new(position(&span), what));
        }
    }
    Ok(builder.roots)
}

fn position(span: &Span) -> Position {
    Position {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

/// Adds to the parser's message what most often is behind it.
fn explain(text: &str, error: &ScanError) -> Failure {
    let marker = error.marker();
    let at = Position {
        line: marker.line().max(1),
        column: marker.col() + 1,
    };
    // A value that goes on is refused at its own end, the tab stands in the next line.
    let further = usize::from(error.info().contains("tab"));
    let mut lines = text.lines().enumerate().take(at.line + further);
    let tab = lines.find_map(|(index, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        indent
            .chars()
            .position(|c| c == '\t')
            .map(|column| Position {
                line: index + 1,
                column: column + 1,
            })
    });
    if let Some(tab) = tab {
        return Failure::syntax(
            tab,
            "a tab is used for indentation, which YAML does not allow; use spaces",
        );
    }
    let what = error.info();
    let what = what.lines().next().unwrap_or("not valid YAML").to_owned();
    let line = text.lines().nth(at.line - 1).unwrap_or_default();
    let hint = if line.contains(": {{") || line.contains("- {{") {
        "; text that begins with {{ must be quoted"
    } else if line.trim_start().starts_with(['@', '`'])
        || line.contains(": @")
        || line.contains(": `")
    {
        "; text that begins with @ or ` must be quoted"
    } else if line.contains(": %") {
        "; text that begins with % must be quoted"
    } else {
        ""
    };
    Failure::syntax(at, format!("{what}{hint}"))
}

enum Frame {
    List {
        at: Position,
        anchor: usize,
        items: Vec<Arc<Node>>,
    },
    Map {
        at: Position,
        anchor: usize,
        entries: Vec<Entry>,
        names: HashMap<String, usize>,
        key: Key,
        merges: Vec<Merge>,
    },
}

/// What a map waits for.
enum Key {
    None,
    Name(String, Position),
    Merge(Position),
}

/// The maps that `<<` names.
struct Merge {
    at: Position,
    node: Arc<Node>,
}

#[derive(Default)]
struct Builder {
    roots: Vec<Arc<Node>>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Arc<Node>>,
    /// Values so far, aliases expanded: no document may cost more than it is long by much.
    spent: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Failure> {
        let at = position(span);
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), at)?
            }
            Event::SequenceStart(_, anchor, _) => {
                self.not_a_key(at)?;
                self.stack.push(Frame::List {
                    at,
                    anchor,
                    items: Vec::new(),
                });
            }
            Event::MappingStart(_, anchor, _) => {
                self.not_a_key(at)?;
                self.stack.push(Frame::Map {
                    at,
                    anchor,
                    entries: Vec::new(),
                    names: HashMap::new(),
                    key: Key::None,
                    merges: Vec::new(),
                });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::List { at, anchor, items }) => {
                    self.done(Node::new(at, Content::List(items))?, anchor)?
                }
                Some(Frame::Map {
                    at,
                    anchor,
                    entries,
                    names,
                    merges,
                    ..
                }) => {
                    let entries = merged(entries, &names, merges, &mut self.spent)?;
                    self.done(Node::new(at, Content::Map(entries))?, anchor)?;
                }
                None => {}
            },
            Event::Alias(id) => {
                let node = self.anchors.get(&id).map(Arc::clone);
                let node = node
                    .ok_or_else(|| Failure::new(at, "this alias stands inside of what it names"))?;
                if self.wants_key() {
                    let Content::Scalar { value, written } = &node.content else {
                        return Err(complex_key(at));
                    };
                    let name = key_name(value, written, at)?;
                    return self.key(name, false, at);
                }
                self.spent = self.spent.saturating_add(node.size());
                self.put(node)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { key: Key::None, .. }))
    }

    fn not_a_key(&self, at: Position) -> Result<(), Failure> {
        if self.wants_key() {
            Err(complex_key(at))
        } else {
            Ok(())
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<(), Failure> {
        let quoted = style != ScalarStyle::Plain;
        let core = tag.and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
        let core = core.as_deref();
        let value = match core {
            Some("binary") => {
                return Err(Failure::new(
                    at,
                    "!!binary is not supported; write the base64 text without the tag",
                ));
            }
            Some("int" | "float" | "bool" | "null") => resolve(text),
            _ if tag.is_some() || quoted => Ok(Value::String(text.to_owned())),
            _ => resolve(text),
        };
        let written = Scalar {
            text: text.to_owned(),
            quoted: quoted || core == Some("str"),
        };
        if self.wants_key() {
            // A key is text in the end; it need not be a number that JSON has.
            let value = value.unwrap_or_else(|_| Value::String(text.to_owned()));
            let name = key_name(&value, &written, at)?;
            if anchor != 0 {
                self.anchors
                    .insert(anchor, Node::new(at, Content::Scalar { value, written })?);
            }
            return self.key(name, !quoted && text == "<<", at);
        }
        let value = value.map_err(|what| Failure::new(at, what))?;
        self.done(Node::new(at, Content::Scalar { value, written })?, anchor)
    }

    fn key(&mut self, name: String, merge: bool, at: Position) -> Result<(), Failure> {
        let Some(Frame::Map {
            key,
            names,
            entries,
            merges,
            ..
        }) = self.stack.last_mut()
        else {
            return Ok(());
        };
        if merge {
            if !merges.is_empty() {
                return Err(Failure::new(at, "<< is set already; give it a list"));
            }
            *key = Key::Merge(at);
            return Ok(());
        }
        if let Some(first) = names.get(&name).and_then(|index| entries.get(*index)) {
            let what = format!(
                "key {name:?} is set already, at line {}; remove one of them",
                first.at.line
            );
            return Err(Failure::new(at, what));
        }
        *key = Key::Name(name, at);
        Ok(())
    }

    fn done(&mut self, node: Arc<Node>, anchor: usize) -> Result<(), Failure> {
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        self.spent = self.spent.saturating_add(1);
        self.put(node)
    }

    fn put(&mut self, node: Arc<Node>) -> Result<(), Failure> {
        match self.stack.last_mut() {
            None => self.roots.push(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map {
                entries,
                names,
                key,
                merges,
                ..
            }) => match std::mem::replace(key, Key::None) {
                Key::None => return Err(complex_key(node.at)),
                Key::Merge(at) => merges.push(Merge { at, node }),
                Key::Name(name, at) => {
                    names.insert(name.clone(), entries.len());
                    entries.push(Entry { name, at, node });
                }
            },
        }
        Ok(())
    }
}

fn complex_key(at: Position) -> Failure {
    Failure::new(
        at,
        "a key must be a single word or text; text that begins with {{, { or [ must be quoted",
    )
}

fn key_name(value: &Value, written: &Scalar, at: Position) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err(Failure::new(
            at,
            format!("a key must be text; quote {:?}", written.text),
        )),
    }
}

/// Adds what `<<` names; a key of the map itself wins, then the first that has it.
fn merged(
    mut entries: Vec<Entry>,
    names: &HashMap<String, usize>,
    merges: Vec<Merge>,
    spent: &mut usize,
) -> Result<Vec<Entry>, Failure> {
    let mut inherited: HashMap<String, ()> = HashMap::new();
    for Merge { at, node } in merges {
        let maps = match &node.content {
            Content::Map(_) => vec![Arc::clone(&node)],
            Content::List(items) => items.clone(),
            Content::Scalar { .. } => Vec::new(),
        };
        if maps.is_empty() && !matches!(node.content, Content::List(_)) {
            return Err(Failure::new(
                at,
                "<< must be followed by a map, an alias of one, or a list of these",
            ));
        }
        for map in maps {
            let Content::Map(more) = &map.content else {
                return Err(Failure::new(
                    at,
                    "<< must be followed by a map, an alias of one, or a list of these",
                ));
            };
            *spent = spent.saturating_add(map.size());
            if *spent > MAX_NODES {
                return Err(Failure::new(
                    at,
                    format!("maps merged by << add up to more than {MAX_NODES} values"),
                ));
            }
            for entry in more {
                if !names.contains_key(&entry.name)
                    && inherited.insert(entry.name.clone(), ()).is_none()
                {
                    entries.push(entry.clone());
                }
            }
        }
    }
    Ok(entries)
}
