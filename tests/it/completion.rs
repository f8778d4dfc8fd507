//! Completion scripts, loaded by the shells that they are for.

use std::{fs, path::PathBuf, process::Command};

use crate::harness::{carrack, run};

/// What is typed before the tab, and what must be offered or filled in.
const CASES: &[(&str, &str)] = &[
    ("carrack ru", "run"),
    ("carrack container kil", "kill"),
    ("carrack run --workd", "--workdir"),
    ("carrack serve --data-d", "--data-dir"),
];

/// Writes a shell's script to a directory that lives as long as the guard.
fn script(shell: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("completion");
    let text = run(Command::new(carrack()).args(["completion", shell]));
    fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn bash_completes_commands_and_flags() {
    const COMPLETE: &str = r#"
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
function=$(complete -p carrack | sed 's/.*-F \([^ ]*\).*/\1/')
"$function" carrack "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;
    let (_dir, path) = script("bash");
    for (typed, expected) in CASES {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-euc", COMPLETE, "bash"]).arg(&path);
        let offered = run(bash.args(typed.split(' ')));
        assert!(
            offered.lines().any(|word| word == *expected),
            "{typed}: {offered}"
        );
    }
}

#[test]
fn fish_completes_commands_and_flags() {
    let (_dir, path) = script("fish");
    for (typed, expected) in CASES {
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]);
        let offered = run(fish.arg(&path).arg(typed));
        let mut words = offered.lines().filter_map(|line| line.split('\t').next());
        assert!(words.any(|word| word == *expected), "{typed}: {offered}");
    }
}

#[test]
fn zsh_completes_commands_and_flags() {
    // An interactive shell on a terminal of its own, in which `carrack` shows
    // what its command line has become.
    const TYPE: &str = r#"
zmodload zsh/zpty
zpty z zsh -fi
zpty -w z "PS1= ; autoload -Uz compinit; compinit -u -D; source ${(q)1}"
zpty -w z "carrack() { print -r -- \"typed:\$*:\" }; bindkey '^I' complete-word; print REA''DY"
zpty -r z out '*READY*'
shift
for line; do zpty -w z "$line"$'\t'; done
zpty -w z exit
while zpty -r z line; do print -r -- "$line"; done
"#;
    let (_dir, path) = script("zsh");
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-c", TYPE, "zsh"]).arg(&path);
    let shown = run(zsh.args(CASES.iter().map(|(typed, _)| typed)));
    for (typed, expected) in CASES {
        let words = typed.trim_start_matches("carrack ");
        let before = words.rsplit_once(' ').map_or("", |(before, _)| before);
        let whole = format!("typed:{}:", format!("{before} {expected}").trim());
        assert!(shown.contains(&whole), "{whole} in {shown}");
    }
}
