//! The four layers of settings and where each effective value came from.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{
    Config,
    keys::{KEYS, Key, Kind},
    value,
};

/// The file that is read when it exists and no other is named.
const DEFAULT_FILE: &str = "/etc/carrack/carrack.toml";
/// Variables with our prefix that other commands read, or that are not settings.
const OTHER_VARIABLES: &[&str] = &["CARRACK_CONFIG", "CARRACK_HOST", "CARRACK_SERVER"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => write!(f, "{items:?}"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// The effective settings by name.
#[derive(Clone, Debug, Default)]
pub struct Effective(BTreeMap<&'static str, Setting>);

impl Effective {
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// Lines of `carrack config`: valid TOML with each origin as a comment.
    pub fn lines(&self) -> Vec<String> {
        let shown = |key: &Key, setting: &Setting| {
            let value = if key.secret {
                "\"********\"".to_owned()
            } else {
                setting.value.to_string()
            };
            format!("{} = {value}", key.name)
        };
        let texts: Vec<_> = KEYS
            .iter()
            .map(|key| match self.get(key.name) {
                Some(setting) => (shown(key, setting), setting.origin.to_string()),
                None => (format!("# {} is unset", key.name), "default".to_owned()),
            })
            .collect();
        let width = texts.iter().map(|(text, _)| text.len()).max().unwrap_or(0);
        texts
            .into_iter()
            .map(|(text, origin)| format!("{text:<width$}  # {origin}"))
            .collect()
    }
}

/// Adds the settings' flags to a command.
pub fn serve_command(command: Command) -> Command {
    let file = Arg::new("config-file")
        .long("config-file")
        .value_name("FILE")
        .help(format!(
            "TOML file with settings [env: CARRACK_CONFIG] [default: {DEFAULT_FILE}, if it exists]"
        ));
    KEYS.iter()
        .filter(|key| key.flag)
        .fold(command.arg(file), |command, key| {
            let default = key
                .default
                .map(|d| format!(" [default: {d}]"))
                .unwrap_or_default();
            command.arg(
                Arg::new(key.name)
                    .long(key.name)
                    .value_name(key.value_name)
                    .help(format!("{} [env: {}]{default}", key.help, key.variable()))
                    .action(match key.kind {
                        Kind::Text => ArgAction::Set,
                        Kind::List => ArgAction::Append,
                    }),
            )
        })
}

/// Resolves flags, the process environment, the file and the defaults.
///
/// # Errors
/// An unknown key names the nearest known one; a value that does not parse
/// names its setting.
pub fn resolve(flags: &ArgMatches) -> Result<(Config, Effective)> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("CARRACK_"))
        .collect();
    resolve_with(flags, &environment, Path::new(DEFAULT_FILE))
}

pub(super) fn resolve_with(
    flags: &ArgMatches,
    environment: &BTreeMap<String, String>,
    default_file: &Path,
) -> Result<(Config, Effective)> {
    check_environment(environment)?;
    let named = flags
        .get_one::<String>("config-file")
        .or_else(|| environment.get("CARRACK_CONFIG"))
        .map(PathBuf::from);
    let file = match named {
        Some(path) => read_file(&path)?.with_path(path),
        None if default_file.exists() => read_file(default_file)?.with_path(default_file.into()),
        None => FileLayer::default(),
    };
    let mut effective = Effective::default();
    for key in KEYS {
        if let Some(setting) = setting(key, flags, environment, &file) {
            effective.0.insert(key.name, setting);
        }
    }
    expand_data_dir(&mut effective);
    Ok((value::parse(&effective)?, effective))
}

fn setting(
    key: &'static Key,
    flags: &ArgMatches,
    environment: &BTreeMap<String, String>,
    file: &FileLayer,
) -> Option<Setting> {
    if key.flag
        && let Some(values) = flags.get_many::<String>(key.name)
    {
        let value = of_kind(key, values.flat_map(|v| items(key, v)).collect());
        return Some(Setting {
            value,
            origin: Origin::Flag(format!("--{}", key.name)),
        });
    }
    if let Some(text) = environment.get(&key.variable()) {
        let value = of_kind(key, items(key, text));
        return Some(Setting {
            value,
            origin: Origin::Environment(key.variable()),
        });
    }
    if let Some(value) = file.values.get(key.name) {
        return Some(Setting {
            value: value.clone(),
            origin: Origin::File(file.path.clone()),
        });
    }
    let value = of_kind(key, items(key, key.default?));
    Some(Setting {
        value,
        origin: Origin::Default,
    })
}

fn items(key: &Key, text: &str) -> Vec<String> {
    match key.kind {
        Kind::Text => vec![text.to_owned()],
        Kind::List => text.split(',').map(|item| item.trim().to_owned()).collect(),
    }
}

fn of_kind(key: &Key, mut values: Vec<String>) -> Value {
    match key.kind {
        Kind::Text => Value::Text(values.pop().unwrap_or_default()),
        Kind::List => Value::List(values),
    }
}

/// Defaults that lie inside the data directory follow it.
fn expand_data_dir(effective: &mut Effective) {
    let Some(Value::Text(dir)) = effective.get("data-dir").map(|s| s.value.clone()) else {
        return;
    };
    for setting in effective
        .0
        .values_mut()
        .filter(|s| s.origin == Origin::Default)
    {
        if let Value::Text(text) = &mut setting.value {
            *text = text.replace("{data-dir}", &dir);
        }
    }
}

#[derive(Default)]
struct FileLayer {
    path: PathBuf,
    values: BTreeMap<&'static str, Value>,
}

impl FileLayer {
    fn with_path(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }
}

fn read_file(path: &Path) -> Result<FileLayer> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the settings file {}", path.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{} is not valid TOML", path.display()))?;
    let mut values = BTreeMap::new();
    for (name, value) in table {
        let Some(key) = KEYS.iter().find(|key| key.name == name.replace('_', "-")) else {
            bail!(
                "{}: unknown key {name:?}{}",
                path.display(),
                hint(&name, "")
            );
        };
        let value = match value {
            toml::Value::String(text) => of_kind(key, items(key, &text)),
            toml::Value::Integer(number) => Value::Text(number.to_string()),
            toml::Value::Array(list) if key.kind == Kind::List => {
                let texts = list.iter().map(|item| item.as_str().map(str::to_owned));
                let texts = texts.collect::<Option<Vec<_>>>().with_context(|| {
                    format!("{}: {name} must be an array of strings", path.display())
                })?;
                Value::List(texts)
            }
            other => bail!(
                "{}: {name} is a {}: write it as a string",
                path.display(),
                other.type_str()
            ),
        };
        values.insert(key.name, value);
    }
    Ok(FileLayer {
        path: PathBuf::new(),
        values,
    })
}

/// A misspelt variable would otherwise be ignored in silence.
fn check_environment(environment: &BTreeMap<String, String>) -> Result<()> {
    for name in environment.keys() {
        let known = OTHER_VARIABLES.contains(&name.as_str())
            || KEYS.iter().any(|key| key.variable() == *name);
        if !known {
            let bare = name.trim_start_matches("CARRACK_").to_ascii_lowercase();
            bail!(
                "unknown environment variable {name}{}",
                hint(&bare, "CARRACK_")
            );
        }
    }
    Ok(())
}

/// `: did you mean …?` with the nearest known key.
fn hint(name: &str, prefix: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let nearest = KEYS.iter().min_by_key(|key| distance(&name, key.name));
    match nearest {
        Some(key) if prefix.is_empty() => format!(": did you mean {:?}?", key.name),
        Some(key) => format!(": did you mean {}?", key.variable()),
        None => String::new(),
    }
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
