//! The program's own help page: commands in groups, by how often they are
//! needed.

use std::fmt::Write as _;

/// Groups of commands, in order. What is in none of them belongs to the
/// server.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Common commands",
        &[
            "run", "exec", "ps", "logs", "build", "pull", "push", "images", "login", "logout",
            "version", "info",
        ],
    ),
    (
        "Management commands",
        &[
            "builds",
            "container",
            "image",
            "network",
            "system",
            "volume",
        ],
    ),
    (
        "Commands on containers and images",
        &[
            "attach", "cp", "create", "events", "history", "inspect", "kill", "pause", "port",
            "rename", "restart", "rm", "rmi", "start", "stats", "stop", "tag", "top", "unpause",
            "wait",
        ],
    ),
    ("Help", &["completion"]),
];
const SERVER_GROUP: &str = "Server commands";

/// Gives a program a help page with its commands in groups.
pub fn grouped(command: clap::Command) -> clap::Command {
    let about = |name: &str| {
        command
            .get_subcommands()
            .find(|sub| sub.get_name() == name && !sub.is_hide_set())
            .map(|sub| sub.get_about().map(ToString::to_string).unwrap_or_default())
    };
    let known: Vec<&str> = GROUPS
        .iter()
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    let server: Vec<&str> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .filter(|name| !known.contains(name))
        .collect();
    let mut groups: Vec<(&str, Vec<&str>)> = GROUPS
        .iter()
        .map(|(head, names)| (*head, names.to_vec()))
        .collect();
    groups.insert(groups.len() - 1, (SERVER_GROUP, server));
    let mut page = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (head, names) in groups {
        let lines: Vec<_> = names
            .into_iter()
            .filter_map(|name| Some((name, about(name)?)))
            .collect();
        if lines.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(page, "\n{head}:");
        for (name, about) in lines {
            let _ = writeln!(page, "  {name:<12}{about}");
        }
    }
    page.push_str(
        "\nGlobal options:\n{options}\n\nRun 'carrack COMMAND --help' for more about a command.",
    );
    command.help_template(page)
}
