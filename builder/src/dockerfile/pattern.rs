//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and `\`.

use super::error::Problem;

/// Most comparisons in one substitution. Replacing a pattern with stars in a
/// long value is quadratic; this is a second's work at most.
const STEPS_MAX: u64 = 50_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    AnyChar,
    /// `*`
    AnyText,
}

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    pub(super) fn parse(source: &str) -> Result<Self, Problem> {
        let mut tokens = Vec::new();
        let mut chars = source.chars();
        while let Some(ch) = chars.next() {
            tokens.push(match ch {
                '*' => Token::AnyText,
                '?' => Token::AnyChar,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(escaped),
                    other => {
                        let escaped = other.map(String::from).unwrap_or_default();
                        return Err(Problem::syntax(format!(
                            "invalid pattern ({source}) in substitution: invalid escape '\\{escaped}'"
                        )));
                    }
                },
                ch => Token::Char(ch),
            });
        }
        Ok(Self(tokens))
    }

    /// `value` without the part at its start that matches.
    pub(super) fn trim_start(&self, value: &str, longest: bool) -> Result<String, Problem> {
        let chars: Vec<char> = value.chars().collect();
        let mut steps = 0;
        let matched = match_at(&self.0, &chars, longest, &mut steps)?.unwrap_or(0);
        Ok(chars[matched..].iter().collect())
    }

    /// `value` without the part at its end that matches.
    pub(super) fn trim_end(&self, value: &str, longest: bool) -> Result<String, Problem> {
        let backwards: Vec<char> = value.chars().rev().collect();
        let tokens: Vec<Token> = self.0.iter().rev().copied().collect();
        let mut steps = 0;
        let matched = match_at(&tokens, &backwards, longest, &mut steps)?.unwrap_or(0);
        Ok(backwards[matched..].iter().rev().collect())
    }

    /// `value` with the first match, or all of them, replaced.
    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
    ) -> Result<String, Problem> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let mut steps = 0;
        let mut at = 0;
        // Where the last match ended: an empty match right there is part of it.
        let mut last_end = None;
        while at <= chars.len() {
            let matched = match_at(&self.0, &chars[at..], true, &mut steps)?;
            match matched {
                Some(length) if length > 0 || last_end != Some(at) => {
                    out.push_str(replacement);
                    at += length;
                    last_end = Some(at);
                    if !all {
                        break;
                    }
                    if length > 0 {
                        continue;
                    }
                }
                _ => {}
            }
            out.extend(chars.get(at));
            at += 1;
        }
        out.extend(chars.get(at..).unwrap_or_default());
        Ok(out)
    }
}

/// How many of the first `chars` match, taking the longest or the shortest;
/// `None` when no prefix does. Like the shell of Docker's builder, `*` and `?`
/// stop at a newline.
fn match_at(
    tokens: &[Token],
    chars: &[char],
    longest: bool,
    steps: &mut u64,
) -> Result<Option<usize>, Problem> {
    // Positions in `tokens` that the text so far can have reached.
    let mut reached = vec![false; tokens.len() + 1];
    reached[0] = true;
    skip_stars(tokens, &mut reached);
    let mut matched = None;
    for count in 0..=chars.len() {
        if reached[tokens.len()] {
            matched = Some(count);
            if !longest {
                break;
            }
        }
        let Some(&ch) = chars.get(count) else { break };
        *steps += tokens.len() as u64 + 1;
        if *steps > STEPS_MAX {
            return Err(Problem::too_large(
                "the pattern in a substitution takes too long to match",
            ));
        }
        let mut next = vec![false; tokens.len() + 1];
        let mut alive = false;
        for (at, token) in tokens.iter().enumerate() {
            if !reached[at] {
                continue;
            }
            let (to, goes) = match token {
                Token::AnyText => (at, ch != '\n'),
                Token::AnyChar => (at + 1, ch != '\n'),
                Token::Char(wanted) => (at + 1, ch == *wanted),
            };
            next[to] |= goes;
            alive |= goes;
        }
        if !alive {
            break;
        }
        skip_stars(tokens, &mut next);
        reached = next;
    }
    Ok(matched)
}

/// A star may match nothing.
fn skip_stars(tokens: &[Token], reached: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if reached[at] && *token == Token::AnyText {
            reached[at + 1] = true;
        }
    }
}
