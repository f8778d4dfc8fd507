//! Accepts `--flag=true` and `--flag=false` for every switch, as people write
//! them for docker.
//!
//! Done on the words before clap sees them, because a switch that may take a
//! value would show a placeholder for it on every help page.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// Rewrites switches with a value: `--rm=true` becomes `--rm`, `--rm=false`
/// goes. Words behind the image of `run` and the like are left alone.
/// `words` start with the program's name.
pub fn plain_switches(program: &Command, words: Vec<OsString>) -> Vec<OsString> {
    let mut out = Vec::with_capacity(words.len());
    let mut command = program;
    let mut words = words.into_iter();
    out.extend(words.next());
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            out.push(word);
            continue;
        };
        if text == "--" {
            out.push(word);
            break;
        }
        if !text.starts_with('-') || text == "-" {
            match command.find_subcommand(text) {
                Some(sub) => command = sub,
                None if takes_the_rest(command) => {
                    out.push(word);
                    break;
                }
                None => {}
            }
            out.push(word);
            continue;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match (find(command, name), value) {
            (Some(arg), Some(value)) if is_switch(arg) => match truth(value) {
                Some(true) => out.push(name.into()),
                Some(false) if !name.starts_with("--") && name.len() > 2 => {
                    out.push(name[..name.len() - 1].into());
                }
                Some(false) => {}
                // Clap says what is wrong with it.
                None => out.push(word),
            },
            (Some(arg), None) if wants_value(arg) => {
                out.push(word);
                out.extend(words.next());
            }
            _ => out.push(word),
        }
    }
    out.extend(words);
    out
}

/// The argument that a word names: by its long name, or by the last letter
/// of a cluster of short ones. A letter before it that takes a value has it
/// in the rest of the word.
fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    if let Some(long) = name.strip_prefix("--") {
        return command.get_arguments().find(|arg| {
            arg.get_long() == Some(long)
                || arg
                    .get_all_aliases()
                    .is_some_and(|aliases| aliases.contains(&long))
        });
    }
    let mut found = None;
    for letter in name.trim_start_matches('-').chars() {
        if found.is_some_and(wants_value) {
            return None;
        }
        found = Some(
            command
                .get_arguments()
                .find(|arg| arg.get_short() == Some(letter))?,
        );
    }
    found
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn wants_value(arg: &Arg) -> bool {
    let optional = arg
        .get_num_args()
        .is_some_and(|range| range.min_values() == 0);
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !optional
}

/// Whether everything behind the first plain word belongs to somebody else.
fn takes_the_rest(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Some(true),
        "false" | "0" | "f" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "arguments/tests.rs"]
mod tests;
