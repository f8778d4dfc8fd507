//! The `--name[=value]` flags of instructions.

use super::error::Problem;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlagKind {
    Bool,
    Text,
    /// May be repeated.
    List,
}

/// A flag that an instruction knows.
pub(super) type Known = (&'static str, FlagKind);

/// The flags that were written, checked against those the instruction knows.
#[derive(Debug)]
pub(super) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// # Errors
    /// Unknown flags, with the nearest known one; missing, superfluous or
    /// repeated values.
    pub(super) fn parse(written: &[String], known: &[Known]) -> Result<Self, Problem> {
        let mut given: Vec<(&'static str, String)> = Vec::new();
        for word in written {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (word.as_str(), None),
            };
            let name = flag.strip_prefix("--").unwrap_or(flag);
            let Some((name, kind)) = known.iter().find(|(known, _)| *known == name) else {
                let names = known.iter().map(|(name, _)| *name);
                return Err(Problem::syntax(format!("unknown flag: {flag}")).suggest(name, names));
            };
            if *kind != FlagKind::List && given.iter().any(|(used, _)| used == name) {
                return Err(Problem::syntax(format!("duplicate flag specified: {flag}")));
            }
            let value = match (kind, value) {
                (FlagKind::Bool, None) => "true".to_owned(),
                (_, None) => {
                    return Err(Problem::syntax(format!("missing a value on flag: {flag}")));
                }
                (FlagKind::Bool, Some("")) => {
                    return Err(Problem::syntax(format!("missing a value on flag: {flag}")));
                }
                (FlagKind::Bool, Some(value)) => match value.to_lowercase().as_str() {
                    value @ ("true" | "false") => value.to_owned(),
                    _ => {
                        return Err(Problem::syntax(format!(
                            "expecting boolean value for flag {flag}, not: {value}"
                        )));
                    }
                },
                (_, Some(value)) => value.to_owned(),
            };
            given.push((name, value));
        }
        Ok(Self(given))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.list(name).pop()
    }

    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(used, _)| *used == name)
            .map(|(_, value)| value.clone())
            .collect()
    }
}
