use super::*;

fn check(text: &str, expected: Option<u16>) {
    let got = text.parse::<ApiVersion>().ok().map(ApiVersion::minor);
    assert_eq!(got, expected, "{text:?}");
}

#[test]
fn versions_parse() {
    check("1.24", Some(24));
    check("1.51", Some(51));
    check("1.999", Some(999));
    check("2.0", None);
    check("1.", None);
    check("1.x", None);
    check("1.-1", None);
    check("1.99999", None);
    check("", None);
}
