use super::*;

fn words(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|w| (*w).to_owned()).collect())
}

fn check(
    request: (Option<Vec<String>>, Option<Vec<String>>),
    image: (Option<Vec<String>>, Option<Vec<String>>),
    expected: Result<&[&str], &str>,
) {
    let merged = merge(
        ContainerConfig {
            entrypoint: request.0,
            cmd: request.1,
            ..Default::default()
        },
        &oci::ContainerConfig {
            entrypoint: image.0,
            cmd: image.1,
            ..Default::default()
        },
    );
    match (merged, expected) {
        (Ok(config), Ok(want)) => assert_eq!(command(&config), want),
        (Err(error), Err(want)) => assert_eq!(error.to_string(), want),
        (got, want) => panic!("{got:?} instead of {want:?}"),
    }
}

#[test]
fn commands_replace_by_dockers_rules() {
    check((None, None), (None, words(&["sh"])), Ok(&["sh"]));
    check(
        (None, None),
        (words(&["e"]), words(&["c"])),
        Ok(&["e", "c"]),
    );
    check(
        (None, words(&["x"])),
        (words(&["e"]), words(&["c"])),
        Ok(&["e", "x"]),
    );
    check(
        (words(&["n"]), None),
        (words(&["e"]), words(&["c"])),
        Ok(&["n"]),
    );
    check(
        (words(&[""]), words(&["x"])),
        (words(&["e"]), words(&["c"])),
        Ok(&["x"]),
    );
    check(
        (words(&[]), words(&["x"])),
        (words(&["e"]), None),
        Ok(&["x"]),
    );
    check((None, None), (None, None), Err("no command specified"));
}

fn check_env(image: &[&str], request: &[&str], expected: &[&str]) {
    let own = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    assert_eq!(merge_env(&own(image), &own(request)), own(expected));
}

#[test]
fn variables_merge_by_name() {
    check_env(&["A=1", "B=2"], &["B=3", "C=4"], &["A=1", "B=3", "C=4"]);
    check_env(&["A=1"], &["A"], &[]);
    check_env(&[], &["A="], &["A="]);
}

#[test]
fn an_image_cannot_set_our_labels() {
    let image = oci::ContainerConfig {
        cmd: words(&["sh"]),
        labels: BTreeMap::from([
            ("io.carrack.privileged".to_owned(), "1".to_owned()),
            ("team".to_owned(), "a".to_owned()),
        ]),
        ..Default::default()
    };
    let merged = merge(ContainerConfig::default(), &image).unwrap();
    assert_eq!(merged.labels.keys().collect::<Vec<_>>(), ["team"]);
}
