use super::*;

#[track_caller]
fn check(line: &str, expected: &str) {
    let words = |text: &str| -> Vec<OsString> {
        std::iter::once("carrack")
            .chain(text.split_whitespace())
            .map(Into::into)
            .collect()
    };
    let mut program = crate::command();
    program.build();
    assert_eq!(
        plain_switches(&program, words(line)),
        words(expected),
        "{line}"
    );
}

#[test]
fn switches_lose_their_value() {
    check("run --rm=true -d=false x", "run --rm x");
    check(
        "run -it=true --init=FALSE --privileged=1 x",
        "run -it --privileged x",
    );
    check("ps --no-trunc=true -a=0", "ps --no-trunc");
    check("run -it=false x", "run -i x");
    check("container ls --all=true", "container ls --all");
    check("--debug=true ps -q", "--debug ps -q");
}

#[test]
fn all_else_stays() {
    for line in [
        "run --name=true x",
        "run -e --rm=true x",
        "run -e=--rm=true x",
        "run -ie --rm=true x",
        "run --env A=true x",
        "run --sig-proxy=false x",
        "run --rm=maybe x",
        "run x --rm=true",
        "exec web ls --all=true",
        "inspect -- --size=true",
        "run --nope=true x",
        "-H --debug=true ps",
    ] {
        check(line, line);
    }
}
