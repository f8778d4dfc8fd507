//! Splits a template into text and the tokens between `{{` and `}}`.
//!
//! Grammar: Go's text/template, sections "Text and spaces" and "Actions".

use super::ParseError;

/// A token with the byte offset where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    Space,
    /// A word: keyword, function name, `true`, `nil`.
    Word(String),
    /// `.Name`
    Field(String),
    Dot,
    /// `$` or `$name`
    Variable(String),
    Str(String),
    Int(i64),
    Float(f64),
    Pipe,
    Comma,
    OpenParen,
    CloseParen,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

pub(super) fn tokens(source: &str) -> Result<Vec<Token>, ParseError> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut trim_left = false;
    loop {
        let rest = &source[at..];
        let open = rest.find("{{");
        let mut text = &rest[..open.unwrap_or(rest.len())];
        if trim_left {
            text = text.trim_start_matches(SPACES);
        }
        let Some(open) = open else {
            push_text(&mut out, at, text);
            return Ok(out);
        };
        let mut inside = at + open + 2;
        // `{{- ` trims the text before it; the space keeps `{{-3}}` a number.
        if source[inside..].starts_with('-') && source[inside + 1..].starts_with(SPACES) {
            text = text.trim_end_matches(SPACES);
            inside += 1;
        }
        push_text(&mut out, at, text);
        let trimmed = source[inside..].trim_start_matches(SPACES);
        if trimmed.starts_with("/*") {
            let from = source.len() - trimmed.len();
            let end = trimmed
                .find("*/")
                .ok_or_else(|| ParseError::new(source, from, "unclosed comment"))?;
            let tail = &trimmed[end + 2..];
            let dashed = tail
                .strip_prefix(SPACES)
                .and_then(|t| t.trim_start_matches(SPACES).strip_prefix("-}}"));
            let after = match (tail.strip_prefix("}}"), dashed) {
                (Some(after), _) => {
                    trim_left = false;
                    after
                }
                (None, Some(after)) => {
                    trim_left = true;
                    after
                }
                (None, None) => {
                    return Err(ParseError::new(
                        source,
                        from,
                        "comment ends before closing delimiter",
                    ));
                }
            };
            at = source.len() - after.len();
            continue;
        }
        out.push(Token {
            at: at + open,
            kind: Kind::Open,
        });
        (at, trim_left) = Action { source, at: inside }.lex(&mut out)?;
    }
}

fn push_text(out: &mut Vec<Token>, at: usize, text: &str) {
    if !text.is_empty() {
        out.push(Token {
            at,
            kind: Kind::Text(text.to_owned()),
        });
    }
}

struct Action<'a> {
    source: &'a str,
    at: usize,
}

impl Action<'_> {
    /// Reads up to and with `}}`; tells where the text goes on and whether
    /// its leading space is trimmed.
    fn lex(mut self, out: &mut Vec<Token>) -> Result<(usize, bool), ParseError> {
        let mut depth = 0_usize;
        loop {
            let rest = &self.source[self.at..];
            let start = self.at;
            let Some(next) = rest.chars().next() else {
                return Err(self.error(start, "unclosed action"));
            };
            let dashed = rest
                .strip_prefix(SPACES)
                .is_some_and(|r| r.trim_start_matches(SPACES).starts_with("-}}"));
            if dashed || rest.starts_with("}}") {
                if depth > 0 {
                    return Err(self.error(start, "unclosed left paren"));
                }
                out.push(Token {
                    at: start,
                    kind: Kind::Close,
                });
                let end = rest.find("}}").map_or(rest.len(), |end| end + 2);
                return Ok((start + end, dashed));
            }
            let kind = match next {
                c if SPACES.contains(&c) => {
                    self.at += rest.len() - rest.trim_start_matches(SPACES).len();
                    Kind::Space
                }
                '"' => Kind::Str(self.quoted()?),
                '`' => {
                    let end = rest[1..]
                        .find('`')
                        .ok_or_else(|| self.error(start, "unterminated raw quoted string"))?;
                    self.at += end + 2;
                    Kind::Str(rest[1..=end].to_owned())
                }
                '\'' => Kind::Int(self.character()?),
                '|' => self.single(Kind::Pipe),
                ',' => self.single(Kind::Comma),
                '=' => self.single(Kind::Assign),
                ':' if rest.starts_with(":=") => {
                    self.at += 2;
                    Kind::Declare
                }
                '(' => {
                    depth += 1;
                    self.single(Kind::OpenParen)
                }
                ')' => {
                    depth = depth
                        .checked_sub(1)
                        .ok_or_else(|| self.error(start, "unexpected right paren"))?;
                    self.single(Kind::CloseParen)
                }
                '$' => {
                    self.at += 1;
                    let name = self.word();
                    Kind::Variable(format!("${name}"))
                }
                '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    self.at += 1;
                    match self.word() {
                        name if name.is_empty() => Kind::Dot,
                        name => Kind::Field(name),
                    }
                }
                c if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => self.number()?,
                c if c.is_alphabetic() || c == '_' => Kind::Word(self.word()),
                c => {
                    return Err(self.error(
                        start,
                        &format!("unrecognized character in action: U+{:04X} {c:?}", c as u32),
                    ));
                }
            };
            out.push(Token { at: start, kind });
        }
    }

    fn error(&self, at: usize, message: &str) -> ParseError {
        ParseError::new(self.source, at, message)
    }

    fn single(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    fn word(&mut self) -> String {
        let rest = &self.source[self.at..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_owned()
    }

    fn number(&mut self) -> Result<Kind, ParseError> {
        let rest = &self.source[self.at..];
        let start = self.at;
        let mut end = 0;
        let mut before = ' ';
        for c in rest.chars() {
            let sign = matches!(c, '+' | '-') && (end == 0 || matches!(before, 'e' | 'E'));
            if !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || sign) {
                break;
            }
            before = c;
            end += c.len_utf8();
        }
        self.at += end;
        let text = rest[..end].replace('_', "");
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text.strip_prefix('+').unwrap_or(&text)),
        };
        let radix = |prefix: &str, radix| {
            let low = digits.to_ascii_lowercase();
            low.strip_prefix(prefix)
                .and_then(|d| i64::from_str_radix(d, radix).ok())
        };
        let whole = radix("0x", 16)
            .or_else(|| radix("0o", 8))
            .or_else(|| radix("0b", 2))
            .or_else(|| digits.parse::<i64>().ok());
        match whole {
            Some(value) => Ok(Kind::Int(sign * value)),
            None => text
                .parse::<f64>()
                .map(Kind::Float)
                .map_err(|_| self.error(start, &format!("bad number syntax: {text:?}"))),
        }
    }

    fn character(&mut self) -> Result<i64, ParseError> {
        let start = self.at;
        self.at += 1;
        let bad = |this: &Self| this.error(start, "malformed character constant");
        let rest = &self.source[self.at..];
        let (value, used) = match rest.chars().next() {
            Some('\\') => escape(&rest[1..]).map(|(c, n)| (c, n + 1)),
            Some(c) if c != '\'' && c != '\n' => Some((c, c.len_utf8())),
            _ => None,
        }
        .ok_or_else(|| bad(self))?;
        self.at += used;
        if !self.source[self.at..].starts_with('\'') {
            return Err(bad(self));
        }
        self.at += 1;
        Ok(i64::from(u32::from(value)))
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        let mut out = String::new();
        let mut rest = &self.source[self.at + 1..];
        loop {
            let mut chars = rest.chars();
            match chars.next() {
                None | Some('\n') => {
                    return Err(self.error(start, "unterminated quoted string"));
                }
                Some('"') => {
                    self.at = self.source.len() - rest.len() + 1;
                    return Ok(out);
                }
                Some('\\') => {
                    let (c, used) = escape(&rest[1..])
                        .ok_or_else(|| self.error(start, "invalid escape in quoted string"))?;
                    out.push(c);
                    rest = &rest[1 + used..];
                }
                Some(c) => {
                    out.push(c);
                    rest = chars.as_str();
                }
            }
        }
    }
}

/// A Go escape after its backslash: the character and the bytes it took.
fn escape(text: &str) -> Option<(char, usize)> {
    let hex = |digits: usize| {
        let code = text.get(1..1 + digits)?;
        let value = u32::from_str_radix(code, 16).ok()?;
        Some((char::from_u32(value)?, 1 + digits))
    };
    match text.chars().next()? {
        'n' => Some(('\n', 1)),
        't' => Some(('\t', 1)),
        'r' => Some(('\r', 1)),
        'a' => Some(('\u{7}', 1)),
        'b' => Some(('\u{8}', 1)),
        'f' => Some(('\u{c}', 1)),
        'v' => Some(('\u{b}', 1)),
        '\\' => Some(('\\', 1)),
        '\'' => Some(('\'', 1)),
        '"' => Some(('"', 1)),
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        '0'..='7' => {
            let value = u32::from_str_radix(text.get(..3)?, 8).ok()?;
            Some((char::from_u32(value)?, 3))
        }
        _ => None,
    }
}
