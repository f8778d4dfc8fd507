use super::*;

fn check_human(seconds: i64, expected: &str) {
    assert_eq!(human_duration(seconds), expected, "{seconds}");
}

#[test]
fn durations_read_like_dockers() {
    check_human(0, "Less than a second");
    check_human(1, "1 second");
    check_human(59, "59 seconds");
    check_human(60, "About a minute");
    check_human(119, "About a minute");
    check_human(120, "2 minutes");
    check_human(3600, "About an hour");
    check_human(5 * 3600, "5 hours");
    check_human(3 * 86400, "3 days");
    check_human(21 * 86400, "3 weeks");
    check_human(90 * 86400, "3 months");
    check_human(800 * 86400, "2 years");
}

fn check_moment(text: &str, expected: Option<&str>) {
    let now = parse_rfc3339("2026-01-02T00:00:00Z").unwrap();
    let got = parse_moment(text, now).map(rfc3339_nanos);
    assert_eq!(got.as_deref(), expected, "{text:?}");
}

#[test]
fn moments_parse_in_every_form_clients_send() {
    check_moment("0", Some("1970-01-01T00:00:00.000000000Z"));
    check_moment("1.5", Some("1970-01-01T00:00:01.500000000Z"));
    check_moment("1.000000001", Some("1970-01-01T00:00:01.000000001Z"));
    check_moment("1h30m", Some("2026-01-01T22:30:00.000000000Z"));
    check_moment(
        "2025-12-31T00:00:00Z",
        Some("2025-12-31T00:00:00.000000000Z"),
    );
    check_moment("yesterday", None);
    check_moment("1x", None);
    check_moment("", None);
    check_moment("99999999999999999999h", None);
}
