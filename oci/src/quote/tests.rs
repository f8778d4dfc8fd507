use super::quote;

#[test]
fn quotes_as_go_does() {
    for (text, expected) in [
        ("", r#""""#),
        ("plain words", r#""plain words""#),
        ("say \"hi\" \\", r#""say \"hi\" \\""#),
        ("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#),
        ("\u{1b}[2J\u{0}\u{7f}", r#""\x1b[2J\x00\x7f""#),
        ("\u{85}\u{9b}é", r#""\u0085\u009bé""#),
    ] {
        assert_eq!(quote(text), expected);
    }
}
