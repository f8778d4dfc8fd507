//! Go's fmt.Sprintf for the kinds of values that formats meet.

use oci::quote;

use super::value::{Value, format_float};

/// Widest field and longest precision that is honoured.
const WIDTH_MAX: usize = 4096;

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats `arguments` by `format`. As in Go, a mistake shows in the output
/// (`%!d(string=x)`) and is no error.
pub(super) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        spec.width = number(&mut chars, &mut arguments);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut chars, &mut arguments).unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        match arguments.next() {
            None => out.push_str(&format!("%!{verb}(MISSING)")),
            Some(value) => out.push_str(&one(verb, &spec, value)),
        }
    }
    let extra: Vec<_> = arguments
        .map(|value| format!("{}={value}", value.kind()))
        .collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn number<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    arguments: &mut impl Iterator<Item = &'a Value>,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        return match arguments.next() {
            Some(Value::Int(value)) => usize::try_from(*value).ok().map(|v| v.min(WIDTH_MAX)),
            _ => None,
        };
    }
    let mut value = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        value = Some((value.unwrap_or(0) * 10 + digit).min(WIDTH_MAX));
    }
    value
}

fn one(verb: char, spec: &Spec, value: &Value) -> String {
    let bad = || format!("%!{verb}({}={value})", value.kind());
    let text = match (verb, value) {
        ('v', Value::Str(text)) if spec.sharp => quote(text),
        ('v', Value::Float(number)) => match spec.precision {
            Some(precision) => significant(*number, precision),
            None => format_float(*number),
        },
        ('v' | 's', Value::List(items)) => {
            let inner = Spec::default();
            let parts: Vec<_> = items.iter().map(|item| one(verb, &inner, item)).collect();
            format!("[{}]", parts.join(" "))
        }
        ('v', value) => value.to_string(),
        ('T', value) => value.kind().to_owned(),
        ('s', Value::Str(text)) => cut(text, spec),
        ('s', Value::Map(_)) => value.to_string(),
        ('q', Value::Str(text)) => quote(&cut(text, spec)),
        ('q', Value::List(items)) => {
            let inner = Spec::default();
            let parts: Vec<_> = items.iter().map(|item| one('q', &inner, item)).collect();
            format!("[{}]", parts.join(" "))
        }
        ('q', Value::Int(code)) => match u32::try_from(*code).ok().and_then(char::from_u32) {
            Some(c) => format!("{c:?}"),
            None => bad(),
        },
        ('t', Value::Bool(value)) => value.to_string(),
        ('d', Value::Int(value)) => signed(*value, 10, spec),
        ('b', Value::Int(value)) => signed(*value, 2, spec),
        ('o', Value::Int(value)) => signed(*value, 8, spec),
        ('x' | 'X', Value::Int(value)) => {
            let text = signed(*value, 16, spec);
            if verb == 'X' {
                text.to_uppercase()
            } else {
                text
            }
        }
        ('x' | 'X', Value::Str(text)) => text
            .bytes()
            .map(|byte| match verb {
                'x' => format!("{byte:02x}"),
                _ => format!("{byte:02X}"),
            })
            .collect(),
        ('c', Value::Int(code)) => u32::try_from(*code)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('f' | 'F', Value::Float(number)) => {
            let text = format!("{number:.*}", spec.precision.unwrap_or(6));
            with_sign(text, spec)
        }
        ('e', Value::Float(number)) => {
            let text = format!("{number:.*e}", spec.precision.unwrap_or(6));
            with_sign(exponent(&text), spec)
        }
        ('g', Value::Float(number)) => match spec.precision {
            Some(precision) => significant(*number, precision),
            None => format_float(*number),
        },
        _ => return bad(),
    };
    pad(text, spec, matches!(value, Value::Int(_) | Value::Float(_)))
}

fn cut(text: &str, spec: &Spec) -> String {
    match spec.precision {
        Some(length) => text.chars().take(length).collect(),
        None => text.to_owned(),
    }
}

fn signed(value: i64, radix: u8, spec: &Spec) -> String {
    let size = value.unsigned_abs();
    let digits = match radix {
        2 => format!("{size:b}"),
        8 => format!("{size:o}"),
        16 => format!("{size:x}"),
        _ => size.to_string(),
    };
    let digits = match spec.precision {
        Some(width) => format!("{digits:0>width$}"),
        None => digits,
    };
    let prefix = match (spec.sharp, radix) {
        (true, 16) => "0x",
        (true, 8) => "0",
        (true, 2) => "0b",
        _ => "",
    };
    let sign = match (value < 0, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    format!("{sign}{prefix}{digits}")
}

fn with_sign(text: String, spec: &Spec) -> String {
    match (text.starts_with('-'), spec.plus, spec.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    }
}

/// Rust writes `1e5` and `1e-5`; Go wants a sign and two digits.
fn exponent(text: &str) -> String {
    let (mantissa, digits) = text.split_once('e').unwrap_or((text, "0"));
    match digits.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits:0>2}"),
        None => format!("{mantissa}e+{digits:0>2}"),
    }
}

/// `%.Ng`: N significant digits, trailing zeros dropped.
fn significant(number: f64, precision: usize) -> String {
    let precision = precision.max(1);
    if number == 0.0 || !number.is_finite() {
        return format_float(number);
    }
    let scientific = format!("{number:.*e}", precision - 1);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || power >= i32::try_from(precision).unwrap_or(i32::MAX) {
        return exponent(&format!("{}e{power}", trim(mantissa)));
    }
    let decimals = usize::try_from(i32::try_from(precision).unwrap_or(17) - 1 - power).unwrap_or(0);
    trim(&format!("{number:.decimals$}"))
}

fn pad(text: String, spec: &Spec, number: bool) -> String {
    let Some(width) = spec.width else {
        return text;
    };
    let length = text.chars().count();
    if length >= width {
        return text;
    }
    let fill = width - length;
    if spec.minus {
        return text + &" ".repeat(fill);
    }
    if spec.zero && number && spec.precision.is_none_or(|_| text.contains('.')) {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text.as_str()),
        };
        return format!("{sign}{}{digits}", "0".repeat(fill));
    }
    " ".repeat(fill) + &text
}
