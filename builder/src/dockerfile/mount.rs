//! `RUN --mount=`: the comma-separated keys of one mount.
//!
//! Its values may hold variables, so a mount is read twice: when the file is
//! parsed, for what must be known then, and again when RUN is lowered.

use super::error::Problem;

/// A mount as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountText {
    pub text: String,
    /// The stage or image it comes from, which may not hold variables.
    pub from: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountKind {
    const ALL: [(&'static str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

const SHARINGS: [(&str, Sharing); 3] = [
    ("shared", Sharing::Shared),
    ("private", Sharing::Private),
    ("locked", Sharing::Locked),
];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

/// A mount with its values expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub kind: MountKind,
    pub from: Option<String>,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    /// Limit of a tmpfs; 0 is the kernel's default.
    pub size_bytes: i64,
    pub id: String,
    pub sharing: Option<Sharing>,
    pub required: bool,
    pub env: Option<String>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

impl MountText {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let mut from = None;
        for field in fields(text)? {
            let Some((key, value)) = field.split_once('=') else {
                continue;
            };
            if key.eq_ignore_ascii_case("from") {
                let dollar = value.find('$');
                if dollar.is_some_and(|at| at + 1 != value.len()) {
                    return Err(Problem::syntax(
                        "'from' doesn't support variable expansion, define alias stage instead",
                    ));
                }
                from = (!value.is_empty()).then(|| value.to_owned());
            } else if !KEYS.contains(&key.to_lowercase().as_str()) {
                return Err(unexpected(key, &field));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            from,
        })
    }

    /// Reads the mount with `expand` applied to each value.
    pub(crate) fn resolve(
        &self,
        expand: &mut dyn FnMut(&str) -> Result<String, Problem>,
    ) -> Result<Mount, Problem> {
        let mut mount = Mount {
            kind: MountKind::Bind,
            from: self.from.clone(),
            source: String::new(),
            target: String::new(),
            read_only: false,
            size_bytes: 0,
            id: String::new(),
            sharing: None,
            required: false,
            env: None,
            mode: None,
            uid: None,
            gid: None,
        };
        let mut read_only = None;
        for field in fields(&self.text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(expand(value)?)),
                None => (field.to_lowercase(), None),
            };
            mount.set(&key, value, &field, &mut read_only)?;
        }
        let writable = matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs);
        mount.read_only = read_only.unwrap_or(!writable);
        mount.check()?;
        Ok(mount)
    }
}

impl Mount {
    fn set(
        &mut self,
        key: &str,
        value: Option<String>,
        field: &str,
        read_only: &mut Option<bool>,
    ) -> Result<(), Problem> {
        let flag = matches!(key, "readonly" | "ro" | "readwrite" | "rw" | "required");
        let value = match value {
            Some(value) => value,
            None if flag => "true".to_owned(),
            None => {
                return Err(Problem::syntax(format!(
                    "invalid field '{field}' must be a key=value pair"
                )));
            }
        };
        match key {
            "type" => {
                self.kind = choose(&value, &MountKind::ALL, "unsupported mount type")?;
            }
            // Taken when the file was parsed.
            "from" => {}
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => *read_only = Some(boolean(key, &value)?),
            "readwrite" | "rw" => *read_only = Some(!boolean(key, &value)?),
            "required" if matches!(self.kind, MountKind::Secret | MountKind::Ssh) => {
                self.required = boolean(key, &value)?;
            }
            "size" if self.kind == MountKind::Tmpfs => self.size_bytes = size(key, &value)?,
            "required" | "size" => {
                return Err(Problem::syntax(format!(
                    "unexpected key '{key}' for mount type '{}'",
                    self.kind.name()
                )));
            }
            "id" => self.id = value,
            "sharing" => {
                self.sharing = Some(choose(&value, &SHARINGS, "unsupported sharing value")?);
            }
            "mode" => self.mode = Some(number(key, &value, 8)?),
            "uid" => self.uid = Some(number(key, &value, 10)?),
            "gid" => self.gid = Some(number(key, &value, 10)?),
            "env" => self.env = Some(value),
            _ => return Err(unexpected(key, field)),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Problem> {
        let kind = self.kind.name();
        if matches!(self.kind, MountKind::Bind | MountKind::Tmpfs) {
            let owned = [
                ("mode", self.mode.is_some()),
                ("uid", self.uid.is_some()),
                ("gid", self.gid.is_some()),
            ];
            if let Some((key, _)) = owned.iter().find(|(_, given)| *given) {
                return Err(Problem::syntax(format!(
                    "{key} not allowed for {kind:?} type mounts"
                )));
            }
        }
        if self.kind == MountKind::Secret {
            let message = if self.from.is_some() {
                "secret mount should not have a from"
            } else if self.sharing.is_some() {
                "secret mount should not define sharing"
            } else if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                "invalid secret mount. one of source, target required"
            } else if !self.source.is_empty() && !self.id.is_empty() {
                "both source and id can't be set"
            } else {
                ""
            };
            if !message.is_empty() {
                return Err(Problem::syntax(message));
            }
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return Err(Problem::syntax(format!(
                "invalid cache sharing set for {kind} mount"
            )));
        }
        Ok(())
    }
}

fn unexpected(key: &str, field: &str) -> Problem {
    Problem::syntax(format!("unexpected key '{key}' in '{field}'")).suggest(key, KEYS)
}

fn choose<T: Copy>(value: &str, known: &[(&'static str, T)], what: &str) -> Result<T, Problem> {
    let wanted = value.to_lowercase();
    match known.iter().find(|(name, _)| *name == wanted) {
        Some((_, choice)) => Ok(*choice),
        None => {
            let names = known.iter().map(|(name, _)| *name);
            Err(Problem::syntax(format!("{what} {value:?}")).suggest(value, names))
        }
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, Problem> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Problem::syntax(format!("invalid value for {key}: {value}"))),
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, Problem> {
    u32::from_str_radix(value, radix)
        .ok()
        .filter(|_| !value.starts_with('+'))
        .ok_or_else(|| Problem::syntax(format!("invalid value {value} for {key}")))
}

/// `64`, `64k`, `1.5GB`: binary multiples, as Docker's flags read them.
fn size(key: &str, value: &str) -> Result<i64, Problem> {
    let bad = || Problem::syntax(format!("invalid value for {key}: {value}"));
    let lower = value.trim().to_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit = unit.trim();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let bytes = number * 1024f64.powi(power);
    if !bytes.is_finite() || bytes > 9e18 {
        return Err(bad());
    }
    Ok(bytes as i64)
}

/// The fields of one comma-separated record; a field in double quotes may hold
/// commas, and doubled quotes for one.
fn fields(text: &str) -> Result<Vec<String>, Problem> {
    let bad = |reason: &str| Problem::syntax(format!("failed to parse csv mounts: {reason}"));
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    None => return Err(bad("a quoted field has no end")),
                    Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(ch) => field.push(ch),
                }
            }
            if chars.peek().is_some_and(|ch| *ch != ',') {
                return Err(bad("text after a quoted field"));
            }
        } else {
            while let Some(ch) = chars.next_if(|ch| *ch != ',') {
                if ch == '"' {
                    return Err(bad("a quote inside a field that is not quoted"));
                }
                field.push(ch);
            }
        }
        fields.push(field);
        if chars.next().is_none() {
            return Ok(fields);
        }
    }
}
