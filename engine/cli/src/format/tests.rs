use super::*;

const LISTING: Listing = Listing {
    type_name: "thing",
    heads: &[("ID", "THING ID"), ("Name", "NAME")],
    table: "{{.ID}}\t{{.Name}}",
};

fn rows() -> Vec<Map> {
    [("1", "one"), ("2", "two")]
        .into_iter()
        .map(|(id, name)| {
            let mut row = LISTING.row();
            row.push("ID", id);
            row.push("Name", name);
            let labels = [("com.example.the-kind".to_owned(), format!("kind of {name}"))];
            push_label_method(&mut row, labels.into());
            row
        })
        .collect()
}

#[track_caller]
fn check(format: Option<&str>, expected: &str) {
    assert_eq!(LISTING.render(format, rows()).unwrap(), expected);
}

#[test]
fn every_kind_of_format() {
    let table = "THING ID   NAME\n1          one\n2          two\n";
    check(None, table);
    check(Some("table"), table);
    check(Some("table {{upper .Name}}"), "NAME\nONE\nTWO\n");
    check(
        Some(r"table {{.Name}}\t{{.ID}}"),
        "NAME      THING ID\none       1\ntwo       2\n",
    );
    check(
        Some(r#"table {{.Label "com.example.the-kind"}}"#),
        "THE KIND\nkind of one\nkind of two\n",
    );
    check(
        Some("json"),
        "{\"ID\":\"1\",\"Name\":\"one\"}\n{\"ID\":\"2\",\"Name\":\"two\"}\n",
    );
    check(Some(r"{{.ID}}\t{{.Name}}"), "1\tone\n2\ttwo\n");
}

#[test]
fn unknown_fields_name_the_known_ones() {
    let error = LISTING
        .render(Some("{{.Nope}}"), rows())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("failed to execute template: template: :1:2"),
        "{error}"
    );
    assert!(error.contains("it has .ID, .Name"), "{error}");
}

#[test]
fn identifiers_and_long_texts_are_cut() {
    assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    assert_eq!(short_id("abc"), "abc");
    assert_eq!(ellipsis("abcdef", 4), "abc…");
    assert_eq!(ellipsis("abcd", 4), "abcd");
}
