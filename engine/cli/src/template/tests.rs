use proptest::prelude::*;

use super::*;

fn data() -> Value {
    Value::from_json(
        br#"{
        "Name": "/web", "Id": "0123456789abcdef", "N": 3, "Big": 9007199254740993, "F": 2.5,
        "Yes": true, "No": false, "Nil": null, "Empty": "", "Zero": 0,
        "List": ["a", "b", "c"], "None": [], "Nums": [1, 2],
        "State": {"Running": true, "Pid": 42, "Health": null},
        "Config": {"Labels": {"b": "2", "a": "1"}, "Env": ["A=1", "B=2"], "Mixed": {"x": 1, "y": "z"}},
        "Nets": {"bridge": {"IP": "172.17.0.2"}, "other": {"IP": "10.0.0.1"}}
    }"#,
    )
    .unwrap()
}

#[track_caller]
fn check(template: &str, expected: &str) {
    let out = Template::parse(template)
        .map(|t| t.render(&data()).map_err(|e| e.to_string()))
        .unwrap_or_else(|e| Err(e.to_string()));
    assert_eq!(out.as_deref(), Ok(expected), "{template}");
}

#[track_caller]
fn check_error(template: &str, expected: &str) {
    let error = match Template::parse(template) {
        Ok(template) => template.render(&data()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(error, expected, "{template}");
}

#[test]
fn fields_and_constants() {
    for (template, expected) in [
        ("", ""),
        ("plain } text {", "plain } text {"),
        ("{{.Name}}", "/web"),
        ("{{ .Name }}!", "/web!"),
        ("{{.State.Pid}}", "42"),
        ("{{(.State).Pid}}", "42"),
        ("{{$.N}}", "3"),
        ("{{.Big}}", "9007199254740993"),
        ("{{.F}}", "2.5"),
        ("{{.Yes}}/{{.No}}", "true/false"),
        (
            "{{.ID}} {{.Id}} {{.State.PID}}",
            "0123456789abcdef 0123456789abcdef 42",
        ),
        ("{{.Nil}}", "<nil>"),
        ("{{.Absent}}", "<no value>"),
        ("{{.List}}", "[a b c]"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        (r#"{{"a\t\"\x41\u00e9\n"}}"#, "a\t\"A\u{e9}\n"),
        ("{{`raw\\n`}}", "raw\\n"),
        (
            "{{'a'}} {{0x1F}} {{1_000}} {{-3}} {{1e3}} {{.5}}",
            "97 31 1000 -3 1000 0.5",
        ),
        ("{{/* note */}}x", "x"),
        ("a {{- /* note */ -}} b", "ab"),
    ] {
        check(template, expected);
    }
}

#[test]
fn spaces_are_trimmed_where_asked() {
    check("a  {{- .N -}}  b", "a3b");
    check("a {{- 3}} b", "a3 b");
    check("a {{3 -}}\n\t b", "a 3b");
    check("{{-3}}", "-3");
}

#[test]
fn conditions() {
    for (template, expected) in [
        ("{{if .Yes}}y{{else}}n{{end}}", "y"),
        ("{{if .Zero}}y{{else}}n{{end}}", "n"),
        ("{{if .Empty}}y{{end}}", ""),
        ("{{if .None}}y{{else if .List}}l{{else}}n{{end}}", "l"),
        ("{{if not .Nil}}nil{{end}}", "nil"),
        ("{{if .State}}s{{end}}", "s"),
        ("{{with .State}}{{.Pid}}{{$.N}}{{end}}", "423"),
        ("{{with .Nil}}x{{else}}none{{end}}", "none"),
        ("{{with .Nil}}x{{else with .N}}{{.}}{{end}}", "3"),
        ("{{with $x := .N}}{{$x}}{{.}}{{end}}", "33"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
    ] {
        check(template, expected);
    }
}

#[test]
fn loops() {
    for (template, expected) in [
        ("{{range .List}}<{{.}}>{{end}}", "<a><b><c>"),
        ("{{range $i, $v := .List}}{{$i}}{{$v}} {{end}}", "0a 1b 2c "),
        ("{{range $v := .List}}{{$v}}{{end}}", "abc"),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
            "a=1;b=2;",
        ),
        ("{{range .Nets}}{{.IP}} {{end}}", "172.17.0.2 10.0.0.1 "),
        ("{{range .None}}x{{else}}empty{{end}}", "empty"),
        ("{{range .Nil}}x{{end}}", ""),
        (
            "{{range .List}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}",
            "ac",
        ),
        (
            "{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}",
            "a",
        ),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range $i := 2}}{{$i}}{{end}}", "01"),
        (
            "{{range .List}}{{range $.Nums}}{{.}}{{end}},{{end}}",
            "12,12,12,",
        ),
    ] {
        check(template, expected);
    }
}

#[test]
fn functions_of_go() {
    for (template, expected) in [
        ("{{and .Nil .Nil.Deep}}", "<nil>"),
        ("{{or .N .Nil.Deep}}", "3"),
        ("{{and .N .Name}}", "/web"),
        ("{{or .Zero .Empty \"last\"}}", "last"),
        ("{{.N | and true}}", "3"),
        (
            "{{eq .N 3}} {{eq .N 1 2 3}} {{eq .Name \"x\"}}",
            "true true false",
        ),
        (
            "{{ne .N 3}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge \"b\" \"a\"}}",
            "false true true false true",
        ),
        ("{{eq .Nil nil}}", "true"),
        (
            "{{len .List}} {{len .Name}} {{len .Config.Labels}}",
            "3 4 2",
        ),
        ("{{index .List 1}}", "b"),
        ("{{index .Config.Labels \"a\"}}", "1"),
        ("[{{index .Config.Labels \"none\"}}]", "[]"),
        ("{{index .Config.Mixed \"none\"}}", "<no value>"),
        ("{{index .Nets \"bridge\" \"IP\"}}", "172.17.0.2"),
        ("{{(index .Nets \"bridge\").IP}}", "172.17.0.2"),
        ("{{index .Name 1}}", "119"),
        ("{{slice .Id 0 12}}", "0123456789ab"),
        ("{{slice .Name 1}}", "web"),
        ("{{slice .List 1 2}}", "[b]"),
        ("{{print 1 2 \"x\" 3}}", "1 2x3"),
        ("{{println 1 \"x\"}}", "1 x\n"),
        ("{{printf \"%s-%d\" .Name .N}}", "/web-3"),
        ("{{.Name | printf \"%q\"}}", "\"/web\""),
        ("{{html \"<a href='x'>\"}}", "&lt;a href=&#39;x&#39;&gt;"),
        ("{{js \"it's <b>\"}}", r"it\'s \u003Cb\u003E"),
        ("{{urlquery \"a b&c\"}}", "a+b%26c"),
        ("{{not .Yes}}", "false"),
    ] {
        check(template, expected);
    }
}

#[test]
fn functions_of_docker() {
    for (template, expected) in [
        ("{{json .List}}", r#"["a","b","c"]"#),
        ("{{json .Config.Labels}}", r#"{"b":"2","a":"1"}"#),
        (
            "{{json .Absent}} {{json .F}} {{json \"<\"}}",
            "null 2.5 \"<\"",
        ),
        ("{{join .List \", \"}}", "a, b, c"),
        ("{{split \"a:b\" \":\"}}", "[a b]"),
        ("{{index (split .Name \"/\") 1}}", "web"),
        ("{{.Name | upper | lower}}", "/web"),
        ("{{title \"hello wide world\"}}", "Hello Wide World"),
        ("[{{pad .Name 2 3}}]", "[  /web   ]"),
        ("{{truncate .Id 4}}", "0123"),
        ("{{.List | json}}", r#"["a","b","c"]"#),
    ] {
        check(template, expected);
    }
}

#[test]
fn printf_follows_go() {
    for (format, argument, expected) in [
        ("%5d|", "42", "   42|"),
        ("%-5d|", "42", "42   |"),
        ("%05d", "-42", "-0042"),
        ("%+d", "42", "+42"),
        ("%x %%", "255", "ff %"),
        ("%#x", "255", "0xff"),
        ("%X", "255", "FF"),
        ("%b", "5", "101"),
        ("%c", "65", "A"),
        ("%5.2f|", "3.14159", " 3.14|"),
        ("%f", "2.5", "2.500000"),
        ("%.3g", "1234.5", "1.23e+03"),
        ("%.4g", "12.5", "12.5"),
        ("%e", "1500.0", "1.500000e+03"),
        ("%v", "1e21", "1e+21"),
        ("%v", "1e-7", "1e-07"),
        ("%-6s|", "\"ab\"", "ab    |"),
        ("%6s|", "\"ab\"", "    ab|"),
        ("%.1s", "\"ab\"", "a"),
        ("%q", "\"a\\nb\"", "\"a\\nb\""),
        ("%x", "\"hi\"", "6869"),
        ("%t", "true", "true"),
        ("%T", "\"x\"", "string"),
        ("%d", "\"x\"", "%!d(string=x)"),
        ("%d %d", "1", "1 %!d(MISSING)"),
        ("none", "1", "none%!(EXTRA int=1)"),
        ("%", "1", "%!(NOVERB)%!(EXTRA int=1)"),
    ] {
        check(&format!("{{{{printf `{format}` {argument}}}}}"), expected);
    }
}

#[test]
fn errors_say_where() {
    for (template, expected) in [
        (
            "{{.A",
            "template parsing error: template: :1: unclosed action",
        ),
        (
            "{{}}",
            "template parsing error: template: :1: missing value for command",
        ),
        (
            "x\n{{nope}}",
            "template parsing error: template: :2: function \"nope\" not defined",
        ),
        (
            "{{if .A}}x",
            "template parsing error: template: :1: unexpected EOF",
        ),
        (
            "{{end}}",
            "template parsing error: template: :1: unexpected {{end}}",
        ),
        (
            "{{else}}",
            "template parsing error: template: :1: unexpected {{else}}",
        ),
        (
            "{{if}}x{{end}}",
            "template parsing error: template: :1: missing value for if",
        ),
        (
            "{{.A | }}",
            "template parsing error: template: :1: missing value for command",
        ),
        (
            "{{(.A}}",
            "template parsing error: template: :1: unclosed left paren",
        ),
        (
            "{{.A)}}",
            "template parsing error: template: :1: unexpected right paren",
        ),
        (
            "{{\"a}}",
            "template parsing error: template: :1: unterminated quoted string",
        ),
        (
            "{{$x}}",
            "template parsing error: template: :1: undefined variable \"$x\"",
        ),
        (
            "{{break}}",
            "template parsing error: template: :1: {{break}} outside {{range}}",
        ),
        (
            "{{.A | 3}}",
            "template parsing error: template: :1: non executable command in pipeline: 3",
        ),
        (
            "{{.Name.X}}",
            "template: :1:2: executing \"\" at <.Name.X>: can't evaluate field X in type string",
        ),
        (
            "{{.Nil.X}}",
            "template: :1:2: executing \"\" at <.Nil.X>: nil pointer evaluating interface {}.X",
        ),
        (
            "{{nil}}",
            "template: :1:2: executing \"\" at <nil>: nil is not a command",
        ),
        (
            "{{index .List 9}}",
            "template: :1:2: executing \"\" at <index .List 9>: error calling index: index out of range: 9",
        ),
        (
            "{{len 3}}",
            "template: :1:2: executing \"\" at <len 3>: error calling len: len of type int",
        ),
        (
            "{{len}}",
            "template: :1:2: executing \"\" at <len>: wrong number of args for len: want 1 got 0",
        ),
        (
            "{{lt 1 \"a\"}}",
            "template: :1:2: executing \"\" at <lt 1 \"a\">: error calling lt: incompatible types for comparison",
        ),
        (
            "{{.Name 3}}",
            "template: :1:2: executing \"\" at <.Name 3>: .Name 3 has arguments but cannot be invoked as function",
        ),
        (
            "{{range .Name}}{{end}}",
            "template: :1:8: executing \"\" at <.Name>: range can't iterate over /web",
        ),
    ] {
        check_error(template, expected);
    }
}

#[test]
fn typed_rows_refuse_unknown_fields_and_call_methods() {
    let mut row = Map::of_type("container");
    row.push("ID", "abc");
    row.push(
        "Label",
        Value::Method(std::sync::Arc::new(|arguments| match arguments {
            [Value::Str(name)] => Ok(Value::Str(format!("<{name}>"))),
            _ => Err("wants a name".to_owned()),
        })),
    );
    let row = Value::Map(row);
    let render = |text: &str| Template::parse(text).unwrap().render(&row);
    assert_eq!(
        render("{{.ID}} {{.Label \"x\"}} {{\"y\" | .Label}}").unwrap(),
        "abc <x> <y>"
    );
    assert_eq!(render("{{json .}}").unwrap(), r#"{"ID":"abc"}"#);
    let error = render("{{.Nope}}").unwrap_err().to_string();
    assert!(
        error.contains("can't evaluate field Nope in type container; it has .ID, .Label"),
        "{error}"
    );
    assert!(
        render("{{.Label 1}}")
            .unwrap_err()
            .message
            .contains("wants a name")
    );
    assert!(render("{{.Label}}").is_err());
}

#[test]
fn missing_keys_can_be_errors() {
    let template = Template::parse("{{.Absent}}")
        .unwrap()
        .on_missing_key(MissingKey::Error);
    let error = template.render(&data()).unwrap_err();
    assert_eq!(error.message, "map has no entry for key \"Absent\"");
}

#[test]
fn deep_nesting_is_refused_and_not_fatal() {
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(Template::parse(&deep).is_err());
    assert!(Template::parse(&"{{if 1}}".repeat(5000)).is_err());
}

#[test]
fn mentions_looks_for_whole_names() {
    let mentions = |text: &str| Template::parse(text).unwrap().mentions("Size");
    assert!(mentions("{{.Size}}"));
    assert!(mentions("{{.ID}}{{upper .Size}}"));
    assert!(!mentions("{{.SizeRw}}"));
    assert!(!mentions("{{.ID}}"));
}

proptest! {
    #[test]
    fn any_text_parses_or_fails_cleanly(text in "[{}().|$:=\"`'\\\\a-z0-9 -]{0,60}") {
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&Value::Int(1));
        }
    }

    #[test]
    fn actions_parse_or_fail_cleanly(inner in "(if|range|with|end|else|index|printf|\\.A|\\$x|:=|\"%d\"|[0-9]|\\(|\\)|\\||-| ){0,12}") {
        let text = format!("{{{{{inner}}}}}x{{{{end}}}}");
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&data());
        }
    }
}
