//! `-e`, `--env-file`, `--label`, `--label-file` and other `key=value` flags.

use std::{collections::BTreeMap, fs, io::Read as _, path::Path};

use crate::config;

/// An environment file larger than this is not one.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Variables from files, then from flags, so that flags win.
///
/// # Errors
/// A file that cannot be read or a line that is no variable.
pub fn environment(files: &[impl AsRef<Path>], flags: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for file in files {
        for line in lines(file.as_ref())? {
            match line.split_once('=') {
                Some((name, _)) => {
                    check_name(name, file.as_ref())?;
                    all.push(line);
                }
                None => {
                    check_name(&line, file.as_ref())?;
                    // A bare name passes our own variable on, if it is set.
                    if let Some(value) = config::variable(&line) {
                        all.push(format!("{line}={value}"));
                    }
                }
            }
        }
    }
    for flag in flags {
        all.push(variable(flag)?);
    }
    Ok(all)
}

fn variable(flag: &str) -> Result<String, String> {
    if flag.is_empty() || flag.starts_with('=') {
        return Err(format!("invalid environment variable: {flag}"));
    }
    if flag.contains('=') {
        return Ok(flag.to_owned());
    }
    // An unset one is sent as a bare name: the engine removes it.
    Ok(match config::variable(flag) {
        Some(value) => format!("{flag}={value}"),
        None => flag.to_owned(),
    })
}

fn check_name(name: &str, file: &Path) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("no variable name on a line of {}", file.display()));
    }
    if name.contains(char::is_whitespace) {
        return Err(format!(
            "variable '{name}' contains whitespaces in {}",
            file.display()
        ));
    }
    Ok(())
}

/// Labels from files, then from flags.
///
/// # Errors
/// A file that cannot be read.
pub fn labels(
    files: &[impl AsRef<Path>],
    flags: &[String],
) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    let mut add = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        all.insert(key.to_owned(), value.to_owned());
    };
    for file in files {
        for line in lines(file.as_ref())? {
            add(&line);
        }
    }
    for flag in flags {
        add(flag);
    }
    Ok(all)
}

/// `key=value` flags of options; a key alone has an empty value.
pub fn option_map(flags: &[String]) -> BTreeMap<String, String> {
    flags
        .iter()
        .map(|flag| flag.split_once('=').unwrap_or((flag, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Lines without blanks in front, empty ones and `#` comments.
fn lines(file: &Path) -> Result<Vec<String>, String> {
    let name = file.display();
    let mut bytes = Vec::new();
    fs::File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("open {name}: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{name} is larger than 4 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}
