//! The functions of a format: Go's built-ins and Docker's additions.

use std::cmp::Ordering;

use super::{
    printf::printf,
    value::{Map, Value},
};

const FUNCTIONS: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt",
    "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "table", "title",
    "truncate", "upper", "urlquery",
];

pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

/// Calls a function; `and` and `or` are the evaluator's.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    match name {
        "not" => {
            let [value] = exactly(name, arguments)?;
            Ok(Value::Bool(!value.is_true()))
        }
        "eq" => equal(arguments).map(Value::Bool),
        "ne" => {
            let [_, _] = exactly(name, arguments)?;
            equal(arguments).map(|same| Value::Bool(!same))
        }
        "lt" => ordered(name, arguments, |o| o == Ordering::Less),
        "le" => ordered(name, arguments, |o| o != Ordering::Greater),
        "gt" => ordered(name, arguments, |o| o == Ordering::Greater),
        "ge" => ordered(name, arguments, |o| o != Ordering::Less),
        "len" => {
            let [value] = exactly(name, arguments)?;
            length(value)
        }
        "index" => index(arguments),
        "slice" => slice(arguments),
        "print" => Ok(Value::Str(print(arguments))),
        "println" => Ok(Value::Str(println(arguments))),
        "printf" => {
            let (format, rest) = arguments.split_first().ok_or_else(|| {
                "wrong number of args for printf: want at least 1 got 0".to_owned()
            })?;
            Ok(Value::Str(printf(text(format)?, rest)))
        }
        "html" => Ok(Value::Str(html(&print(arguments)))),
        "js" => Ok(Value::Str(js(&print(arguments)))),
        "urlquery" => Ok(Value::Str(url_query(&print(arguments)))),
        "json" => {
            let [value] = exactly(name, arguments)?;
            serde_json::to_string(value)
                .map(Value::Str)
                .map_err(|error| error.to_string())
        }
        "join" => {
            let [list, separator] = exactly(name, arguments)?;
            join(list, text(separator)?)
        }
        "split" => {
            let [whole, separator] = exactly(name, arguments)?;
            Ok(split(text(whole)?, text(separator)?))
        }
        "lower" => map_text(name, arguments, |t| t.to_lowercase()),
        "upper" => map_text(name, arguments, |t| t.to_uppercase()),
        "title" => map_text(name, arguments, title),
        "table" => map_text(name, arguments, str::to_owned),
        "pad" => {
            let [source, before, after] = exactly(name, arguments)?;
            let source = text(source)?;
            if source.is_empty() {
                return Ok(Value::from(""));
            }
            let spaces = |v| Ok::<_, String>(" ".repeat(count(v)?.min(1024)));
            Ok(Value::Str(format!(
                "{}{source}{}",
                spaces(before)?,
                spaces(after)?
            )))
        }
        "truncate" => {
            let [source, length] = exactly(name, arguments)?;
            let length = count(length)?;
            Ok(Value::Str(text(source)?.chars().take(length).collect()))
        }
        _ => Err(format!("function {name:?} not defined")),
    }
}

fn exactly<'a, const N: usize>(
    name: &str,
    arguments: &'a [Value],
) -> Result<&'a [Value; N], String> {
    arguments.try_into().map_err(|_| {
        format!(
            "wrong number of args for {name}: want {N} got {}",
            arguments.len()
        )
    })
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| {
        format!(
            "wrong type for value; expected string; got {}",
            value.kind()
        )
    })
}

fn count(value: &Value) -> Result<usize, String> {
    match value {
        Value::Int(value) => usize::try_from(*value).map_err(|_| format!("{value} is negative")),
        other => Err(format!(
            "wrong type for value; expected int; got {}",
            other.kind()
        )),
    }
}

fn map_text(
    name: &str,
    arguments: &[Value],
    change: impl Fn(&str) -> String,
) -> Result<Value, String> {
    let [value] = exactly(name, arguments)?;
    // `{{.Ports | upper}}` also meets values that only print as text.
    match value {
        Value::Str(text) => Ok(Value::Str(change(text))),
        other => Err(format!(
            "wrong type for value; expected string; got {}",
            other.kind()
        )),
    }
}

fn equal(arguments: &[Value]) -> Result<bool, String> {
    let (first, rest) = arguments
        .split_first()
        .filter(|(_, rest)| !rest.is_empty())
        .ok_or("missing argument for comparison")?;
    for other in rest {
        match first.compare(other) {
            Some(Ordering::Equal) => return Ok(true),
            Some(_) => {}
            None => {
                let nil = |v: &Value| matches!(v, Value::Nil | Value::Missing);
                // Against nil every value may be compared, and differs.
                if !nil(first) && !nil(other) {
                    return Err("incompatible types for comparison".to_owned());
                }
            }
        }
    }
    Ok(false)
}

fn ordered(
    name: &str,
    arguments: &[Value],
    holds: impl Fn(Ordering) -> bool,
) -> Result<Value, String> {
    let [a, b] = exactly(name, arguments)?;
    match (a, b) {
        (Value::Bool(_) | Value::Nil | Value::Missing, _) => {
            Err("invalid type for comparison".to_owned())
        }
        _ => a
            .compare(b)
            .map(|order| Value::Bool(holds(order)))
            .ok_or_else(|| "incompatible types for comparison".to_owned()),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Str(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) if map.type_name().is_none() => map.len(),
        Value::Nil | Value::Missing => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.kind())),
    };
    Ok(Value::Int(length as i64))
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let (first, keys) = arguments
        .split_first()
        .ok_or("wrong number of args for index: want at least 1 got 0")?;
    let mut current = first.clone();
    for key in keys {
        current = match (&current, key) {
            (Value::List(items), Value::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| items.get(at))
                .cloned()
                .ok_or_else(|| format!("index out of range: {at}"))?,
            (Value::Str(text), Value::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| text.as_bytes().get(at))
                .map(|byte| Value::Int(i64::from(*byte)))
                .ok_or_else(|| format!("index out of range: {at}"))?,
            (Value::Map(map), Value::Str(key)) => {
                map.get(key).cloned().unwrap_or_else(|| absent(map))
            }
            (Value::Nil | Value::Missing, Value::Str(_)) => Value::Missing,
            (Value::Nil | Value::Missing, _) => return Err("index of untyped nil".to_owned()),
            (Value::List(_) | Value::Str(_), other) => {
                return Err(format!(
                    "cannot index slice/array with type {}",
                    other.kind()
                ));
            }
            (Value::Map(_), other) => {
                return Err(format!("value has type {}; should be string", other.kind()));
            }
            (other, _) => return Err(format!("can't index item of type {}", other.kind())),
        };
    }
    Ok(current)
}

/// What Go gives for an absent key: the zero of the value type. Labels and
/// the like map to strings, and scripts compare with the empty one.
fn absent(map: &Map) -> Value {
    if map.iter().all(|(_, value)| matches!(value, Value::Str(_))) {
        Value::from("")
    } else {
        Value::Missing
    }
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let (first, bounds) = arguments
        .split_first()
        .ok_or("wrong number of args for slice: want at least 1 got 0")?;
    let length = match first {
        Value::Str(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Nil | Value::Missing => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.kind())),
    };
    if bounds.len() > 2 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(value) => match count(value)? {
            bound if bound <= length => Ok(bound),
            bound => Err(format!("index out of range: {bound}")),
        },
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match first {
        // Go slices bytes; a cut inside a character shows the replacement mark.
        Value::Str(text) => Ok(Value::Str(
            String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned(),
        )),
        Value::List(items) => Ok(Value::List(items[from..to].to_vec())),
        _ => Ok(Value::Nil),
    }
}

/// Go's Sprint: spaces only between operands of which neither is a string.
fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in arguments.iter().enumerate() {
        let text = |v: &Value| matches!(v, Value::Str(_));
        if at > 0 && !text(value) && !text(&arguments[at - 1]) {
            out.push(' ');
        }
        out.push_str(&value.to_string());
    }
    out
}

fn println(arguments: &[Value]) -> String {
    let texts: Vec<_> = arguments.iter().map(ToString::to_string).collect();
    format!("{}\n", texts.join(" "))
}

fn join(list: &Value, separator: &str) -> Result<Value, String> {
    match list {
        Value::Nil | Value::Missing => Ok(Value::from("")),
        Value::List(items) => {
            let texts: Vec<_> = items.iter().map(ToString::to_string).collect();
            Ok(Value::Str(texts.join(separator)))
        }
        other => Err(format!(
            "wrong type for value; expected []string; got {}",
            other.kind()
        )),
    }
}

fn split(whole: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return Value::List(whole.chars().map(|c| Value::Str(c.to_string())).collect());
    }
    Value::from(whole.split(separator).collect::<Vec<_>>())
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        start = !(c.is_alphanumeric() || matches!(c, '_' | '\''));
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
