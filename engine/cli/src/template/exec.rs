//! Walks the tree of a template over a value.

use super::{
    MissingKey, RenderError, functions, line_of,
    parse::{Branch, Call, Node, Operand, Pipe},
    value::{Map, Value},
};

/// Output of one rendering that is accepted, in bytes: a `range` over a large
/// number is the only way to more, and no terminal wants it.
const OUTPUT_BYTES_MAX: usize = 256 << 20;

pub(super) fn render(
    nodes: &[Node],
    source: &str,
    data: &Value,
    missing_key: MissingKey,
) -> Result<String, RenderError> {
    let mut state = State {
        source,
        missing_key,
        variables: vec![("$".to_owned(), data.clone())],
        out: String::new(),
    };
    state.list(nodes, data)?;
    Ok(state.out)
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Where in the source an expression stands, and its text for messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    at: usize,
    text: &'a str,
}

struct State<'a> {
    source: &'a str,
    missing_key: MissingKey,
    variables: Vec<(String, Value)>,
    out: String,
}

impl State<'_> {
    fn error(&self, place: Place<'_>, message: impl Into<String>) -> RenderError {
        let line_start = self.source[..place.at].rfind('\n').map_or(0, |at| at + 1);
        RenderError {
            line: line_of(self.source, place.at),
            column: place.at - line_start,
            at: place.text.to_owned(),
            message: message.into(),
        }
    }

    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, RenderError> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Action(pipe) => {
                    let value = self.pipeline(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.print(pipe, &value)?;
                    }
                    Flow::Next
                }
                Node::If(branch) => self.choose(branch, dot, false)?,
                Node::With(branch) => self.choose(branch, dot, true)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if self.out.len() > OUTPUT_BYTES_MAX {
                let place = Place { at: 0, text: "" };
                return Err(self.error(place, "the output is too large"));
            }
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, pipe: &Pipe, value: &Value) -> Result<(), RenderError> {
        if matches!(value, Value::Method(_)) {
            let place = place_of(pipe);
            return Err(self.error(place, "can't print a function: it wants arguments"));
        }
        self.out.push_str(&value.to_string());
        Ok(())
    }

    fn choose(&mut self, branch: &Branch, dot: &Value, with: bool) -> Result<Flow, RenderError> {
        let mark = self.variables.len();
        let value = self.pipeline(&branch.pipe, dot)?;
        let flow = match (value.is_true(), with) {
            (true, true) => self.list(&branch.body, &value),
            (true, false) => self.list(&branch.body, dot),
            (false, _) => {
                if branch.otherwise.is_empty() {
                    Ok(Flow::Next)
                } else {
                    self.list(&branch.otherwise, dot)
                }
            }
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, RenderError> {
        let mark = self.variables.len();
        let value = self.value_of(&branch.pipe, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::List(items) => items
                .into_iter()
                .enumerate()
                .map(|(at, item)| (Value::Int(at as i64), item))
                .collect(),
            Value::Map(map) => map
                .sorted()
                .into_iter()
                .map(|(key, value)| (Value::from(key), value.clone()))
                .collect(),
            Value::Nil | Value::Missing => Vec::new(),
            Value::Int(count) => return self.range_over(count, branch, dot),
            other => {
                let message = format!("range can't iterate over {other}");
                return Err(self.error(place_of(&branch.pipe), message));
            }
        };
        if items.is_empty() {
            return self.list(&branch.otherwise, dot);
        }
        for (key, item) in items {
            let flow = self.turn(branch, key, item)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn range_over(
        &mut self,
        count: i64,
        branch: &Branch,
        dot: &Value,
    ) -> Result<Flow, RenderError> {
        let mark = self.variables.len();
        if count <= 0 {
            return self.list(&branch.otherwise, dot);
        }
        for at in 0..count {
            let flow = self.turn(branch, Value::Int(at), Value::Int(at))?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn turn(&mut self, branch: &Branch, key: Value, item: Value) -> Result<Flow, RenderError> {
        let values = match branch.pipe.variables.as_slice() {
            [] => vec![],
            [one] => vec![(one, item.clone())],
            [first, second, ..] => vec![(first, key), (second, item.clone())],
        };
        for (name, value) in values {
            if branch.pipe.assigns {
                self.assign(name, value);
            } else {
                self.variables.push((name.clone(), value));
            }
        }
        self.list(&branch.body, &item)
    }

    fn assign(&mut self, name: &str, value: Value) {
        // The parser has checked that the variable is in scope.
        if let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            slot.1 = value;
        }
    }

    /// Evaluates and binds the variables that the pipeline declares.
    fn pipeline(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, RenderError> {
        let value = self.value_of(pipe, dot)?;
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn value_of(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, RenderError> {
        let mut last = None;
        for call in &pipe.commands {
            last = Some(self.call(call, dot, last)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn call(
        &mut self,
        call: &Call,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, RenderError> {
        let place = Place {
            at: call.at,
            text: &call.text,
        };
        let rest = &call.operands[1..];
        let first = &call.operands[0];
        if let Operand::Function(name) = first {
            return self.function(name, rest, dot, last, place);
        }
        if matches!(first, Operand::Constant(Value::Nil)) {
            return Err(self.error(place, "nil is not a command"));
        }
        let value = self.operand(first, dot, place)?;
        let has_arguments = !rest.is_empty() || last.is_some();
        match value {
            Value::Method(method) => {
                let mut arguments = Vec::with_capacity(rest.len() + 1);
                for operand in rest {
                    arguments.push(self.operand(operand, dot, place)?);
                }
                arguments.extend(last);
                if arguments.is_empty() && rest.is_empty() {
                    return Ok(Value::Method(method));
                }
                method(&arguments).map_err(|message| self.error(place, message))
            }
            _ if has_arguments => {
                let message = match first {
                    Operand::Field(_) | Operand::Variable(..) => {
                        format!(
                            "{} has arguments but cannot be invoked as function",
                            call.text
                        )
                    }
                    _ => format!("can't give argument to non-function {}", call.text),
                };
                Err(self.error(place, message))
            }
            value => Ok(value),
        }
    }

    fn function(
        &mut self,
        name: &str,
        operands: &[Operand],
        dot: &Value,
        last: Option<Value>,
        place: Place<'_>,
    ) -> Result<Value, RenderError> {
        // `and` and `or` stop at the operand that decides, so that
        // `{{and .X .X.Y}}` guards against a nil `.X`.
        if name == "and" || name == "or" {
            let mut value = None;
            for operand in operands {
                let next = self.operand(operand, dot, place)?;
                let decided = next.is_true() == (name == "or");
                value = Some(next);
                if decided {
                    return Ok(value.unwrap_or_default());
                }
            }
            return last.or(value).ok_or_else(|| {
                self.error(
                    place,
                    format!("wrong number of args for {name}: want at least 1 got 0"),
                )
            });
        }
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.operand(operand, dot, place)?);
        }
        arguments.extend(last);
        functions::call(name, &arguments).map_err(|message| {
            let message = if message.starts_with("wrong number of args") {
                message
            } else {
                format!("error calling {name}: {message}")
            };
            self.error(place, message)
        })
    }

    fn operand(
        &mut self,
        operand: &Operand,
        dot: &Value,
        place: Place<'_>,
    ) -> Result<Value, RenderError> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Function(name) => self.function(name, &[], dot, None, place),
            Operand::Field(names) => self.fields(dot, names, place),
            Operand::Variable(name, names) => {
                let found = self.variables.iter().rev().find(|(n, _)| n == name);
                let value = found.map(|(_, value)| value.clone()).unwrap_or_default();
                self.fields(&value, names, place)
            }
            Operand::Group(pipe, names) => {
                let value = self.value_of(pipe, dot)?;
                self.fields(&value, names, place)
            }
        }
    }

    fn fields(
        &self,
        value: &Value,
        names: &[String],
        place: Place<'_>,
    ) -> Result<Value, RenderError> {
        let mut current = value;
        const MISSING: &Value = &Value::Missing;
        for name in names {
            current = match current {
                Value::Map(map) => match map.field(name) {
                    Some(value) => value,
                    None if map.type_name().is_some() => {
                        return Err(self.error(place, unknown_field(map, name)));
                    }
                    None if self.missing_key == MissingKey::Error => {
                        return Err(
                            self.error(place, format!("map has no entry for key \"{name}\""))
                        );
                    }
                    None => MISSING,
                },
                Value::Nil | Value::Missing => {
                    return Err(self.error(
                        place,
                        format!("nil pointer evaluating interface {{}}.{name}"),
                    ));
                }
                other => {
                    return Err(self.error(
                        place,
                        format!("can't evaluate field {name} in type {}", other.kind()),
                    ));
                }
            };
        }
        Ok(current.clone())
    }
}

fn place_of(pipe: &Pipe) -> Place<'_> {
    Place {
        at: pipe.at,
        text: pipe.commands.first().map_or("", |call| &call.text),
    }
}

fn unknown_field(map: &Map, name: &str) -> String {
    let known: Vec<_> = map.iter().map(|(key, _)| format!(".{key}")).collect();
    format!(
        "can't evaluate field {name} in type {}; it has {}",
        map.type_name().unwrap_or("map"),
        known.join(", ")
    )
}
