use super::from_query;

fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
    query
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn check_refused(query: &[(&str, &str)], expected: &str) {
    let error = from_query(pairs(query)).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn repeated_parameters_add_up_and_tags_mean_push() {
    let options = from_query(pairs(&[
        ("tag", "127.0.0.1:5000/a/b"),
        ("tag", "127.0.0.1:5000/a/b:2"),
        ("build-arg", "A=1=2"),
        ("label", "k="),
        ("no-cache", "1"),
    ]))
    .unwrap();
    assert_eq!(
        options.tags,
        ["127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:2"]
    );
    assert_eq!(options.build_args["A"], "1=2");
    assert_eq!(options.labels["k"], "");
    assert!(options.no_cache && options.push);
    assert!(!from_query(pairs(&[])).unwrap().push);
    let quiet = from_query(pairs(&[("tag", "a/b"), ("push", "0")])).unwrap();
    assert!(!quiet.push);
}

#[test]
fn each_wrong_parameter_is_named() {
    check_refused(&[("tag", "a/B")], "\"tag\" is not an image name");
    check_refused(&[("tag", "a@sha256:0")], "\"tag\"");
    check_refused(&[("build-arg", "A")], "\"build-arg\" must be NAME=VALUE");
    check_refused(&[("label", "=x")], "\"label\" must be NAME=VALUE");
    check_refused(&[("push", "maybe")], "\"push\" must be 0 or 1");
    check_refused(&[("push", "1")], "\"push\" needs at least one tag");
    check_refused(&[("platform", "linux")], "\"platform\" must be");
    check_refused(&[("network", "bridge")], "\"network\" must be");
    check_refused(&[("no_cache", "1")], "\"no_cache\" is not known");
    check_refused(&[("target", "a\0b")], "NUL");
}
