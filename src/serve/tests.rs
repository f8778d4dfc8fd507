use super::*;

fn config(flags: &[&str]) -> Config {
    let command = config::serve_command(clap::Command::new("serve"));
    let flags = std::iter::once("serve").chain(flags.iter().copied());
    let flags = command.try_get_matches_from(flags).unwrap();
    config::resolve(&flags).unwrap().0
}

fn check(flags: &[&str], expected: [&str; 3]) {
    assert_eq!(next_commands(&config(flags)), expected, "{flags:?}");
}

#[test]
fn the_next_commands_reach_this_instance() {
    check(
        &[],
        [
            "carrack login 127.0.0.1:5000 -u admin",
            "carrack build -t 127.0.0.1:5000/demo/hello --push .",
            "carrack run --rm 127.0.0.1:5000/demo/hello",
        ],
    );
    check(
        &["--listen", "0.0.0.0:6000", "--engine-socket", "/tmp/e.sock"],
        [
            "carrack login 127.0.0.1:6000 -u admin",
            "carrack --server http://127.0.0.1:6000 build -t 127.0.0.1:6000/demo/hello --push .",
            "carrack -H unix:///tmp/e.sock run --rm 127.0.0.1:6000/demo/hello",
        ],
    );
    check(
        &["--role", "registry"],
        [
            "carrack login 127.0.0.1:5000 -u admin",
            "docker push 127.0.0.1:5000/demo/hello",
            "docker pull 127.0.0.1:5000/demo/hello",
        ],
    );
}
