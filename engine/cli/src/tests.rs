use clap::Parser as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("carrack").chain(line.split_whitespace()))
}

#[test]
fn the_definition_is_consistent() {
    command().debug_assert();
}

#[test]
fn lines_that_hands_type_by_themselves() {
    for line in [
        "run --rm -it busybox sh -c ls",
        "run -d --name web -p 8080:80 -v /a:/b:ro -e A=b --net none nginx",
        "run --sig-proxy=false -itd x",
        "-H unix:///x ps -aq -f name=x",
        "ps -l",
        "ps -n 3 --no-trunc -s",
        "-l debug ps",
        "logs -f -n 10 -t --since 1h web",
        "logs --tail=10 web",
        "exec -it web sh -c id",
        "exec -u root -w / -e A=1 web env -i",
        "stop -t 5 a b",
        "stop --time -1 a",
        "kill -s TERM a",
        "rm -fv a b",
        "rmi -f a",
        "images -q --digests busybox",
        "inspect -f {{.Id}} a",
        "inspect --type container a",
        "container ls -a",
        "container rm -f a",
        "image ls",
        "volume create --name-is-positional=false",
        "network create --subnet 10.0.0.0/8 x",
        "system df",
        "system prune -af --volumes",
        "login -u admin --password-stdin 127.0.0.1:5000",
        "stats --no-stream",
        "top a -ef",
        "cp a:/x .",
        "cp -aL ./x a:/x",
        "completion bash",
    ] {
        let parsed = parse(line);
        let expected = !line.contains("name-is-positional");
        assert_eq!(parsed.is_ok(), expected, "{line}: {:?}", parsed.err());
    }
}

#[test]
fn typing_errors_get_a_suggestion() {
    let error = parse("imgaes").unwrap_err().to_string();
    assert!(error.contains("images"), "{error}");
    let error = parse("run --nmae x y").unwrap_err().to_string();
    assert!(error.contains("--name"), "{error}");
}

#[test]
fn usage_errors_have_dockers_codes() {
    for (line, expected) in [
        ("run --nope x", 125),
        ("run -p x busybox", 125),
        ("ps --nope", 125),
        ("exec web", 1),
        ("imgaes", 1),
        ("run --help", 0),
    ] {
        assert_eq!(
            usage_exit_code(&parse(line).unwrap_err()),
            expected,
            "{line}"
        );
    }
}

#[test]
fn every_shell_gets_a_script() {
    use clap_complete::Shell;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command(), "carrack", &mut script);
        assert!(
            String::from_utf8(script).unwrap().contains("inspect"),
            "{shell}"
        );
    }
}

#[test]
fn the_help_page_names_every_command_in_a_group() {
    let mut program = grouped(command().subcommand(clap::Command::new("serve").about("Run it")));
    program.build();
    let names: Vec<_> = program
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .map(|sub| sub.get_name().to_owned())
        .collect();
    let page = program.render_help().to_string();
    for name in names {
        assert!(
            page.contains(&format!("\n  {name:<12}")),
            "{name} in {page}"
        );
    }
    let server = page.find("Server commands:").unwrap();
    assert!(page.find("\n  serve").unwrap() > server, "{page}");
    assert!(page.find("\n  run").unwrap() < server, "{page}");
}
