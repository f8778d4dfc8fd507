use proptest::prelude::*;
use time::macros::datetime;

use super::*;

#[test]
fn sizes_are_rounded_as_ever() {
    for (bytes, digits, expected) in [
        (0, 3, "0B"),
        (999, 3, "999B"),
        (1000, 3, "1kB"),
        (1_239_748, 3, "1.24MB"),
        (4_261_502, 3, "4.26MB"),
        (123_456_789, 3, "123MB"),
        (1_500_000_000, 4, "1.5GB"),
        (-1_000, 3, "-1kB"),
        (i64::MAX, 3, "9.22EB"),
    ] {
        assert_eq!(human_size(bytes, digits), expected);
    }
    for (bytes, expected) in [
        (0, "0B"),
        (1024, "1KiB"),
        (512 << 20, "512MiB"),
        (16_772_329_472, "15.62GiB"),
        (3_358_720, "3.203MiB"),
    ] {
        assert_eq!(binary_size(bytes), expected);
    }
}

#[test]
fn sizes_are_read_in_powers_of_1024() {
    for (text, expected) in [
        ("0", Some(0)),
        ("512", Some(512)),
        ("512b", Some(512)),
        ("64k", Some(64 << 10)),
        ("64K", Some(64 << 10)),
        ("32kb", Some(32 << 10)),
        ("1.5g", Some(3 << 29)),
        ("2GiB", Some(2 << 30)),
        ("1 m", Some(1 << 20)),
        ("", None),
        ("m", None),
        ("1x", None),
        ("1ib", None),
        ("-1", None),
        ("1.2.3m", None),
        ("99999999999t", None),
    ] {
        assert_eq!(parse_bytes(text).ok(), expected, "{text}");
    }
}

#[test]
fn cpus_are_read_exactly() {
    for (text, expected) in [
        ("1.5", Some(1_500_000_000)),
        ("2", Some(2_000_000_000)),
        (".5", Some(500_000_000)),
        ("0.000000001", Some(1)),
        ("", None),
        (".", None),
        ("1.0000000001", None),
        ("-1", None),
        ("1e3", None),
        ("9999999999999999999", None),
    ] {
        assert_eq!(parse_cpus(text).ok(), expected, "{text}");
    }
}

#[test]
fn durations_are_read_as_go_does() {
    for (text, expected_ms) in [
        ("0", Some(0)),
        ("90s", Some(90_000)),
        ("1h30m", Some(5_400_000)),
        ("1.5s", Some(1_500)),
        ("300ms", Some(300)),
        ("2m0.5s", Some(120_500)),
        ("", None),
        ("10", None),
        ("s", None),
        ("1d", None),
        ("1h-1m", None),
        ("99999999999h", None),
    ] {
        let got = parse_duration(text).ok().map(|d| d.as_millis());
        assert_eq!(got, expected_ms, "{text}");
    }
}

#[test]
fn elapsed_time_in_rough_words() {
    for (seconds, expected) in [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (45 * 60, "45 minutes"),
        (60 * 60, "About an hour"),
        (90 * 60, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86_400, "13 days"),
        (14 * 86_400, "2 weeks"),
        (61 * 86_400, "2 months"),
        (800 * 86_400, "2 years"),
    ] {
        assert_eq!(human_duration(Duration::from_secs(seconds)), expected);
    }
}

#[test]
fn instants_in_every_accepted_form() {
    let now = datetime!(2026-01-31 12:00:00 UTC);
    for (text, expected) in [
        ("10m", Some("1769860200.000000000")),
        ("1500000000", Some("1500000000")),
        ("1500000000.5", Some("1500000000.5")),
        ("2026-01-31T11:59:59.25Z", Some("1769860799.250000000")),
        ("2026-01-31T13:00:00+01:00", Some("1769860800.000000000")),
        ("2026-01-31T12:00:00", Some("1769860800.000000000")),
        ("2026-01-31 12:00", Some("1769860800.000000000")),
        ("2026-01-31", Some("1769817600.000000000")),
        ("", None),
        ("yesterday", None),
        ("2026-13-01", None),
    ] {
        assert_eq!(parse_instant(text, now).ok().as_deref(), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn readers_never_panic(text in "\\PC{0,24}") {
        let _ = parse_bytes(&text);
        let _ = parse_cpus(&text);
        let _ = parse_duration(&text);
        let _ = parse_instant(&text, datetime!(2026-01-31 12:00:00 UTC));
    }

    #[test]
    fn sizes_never_panic(bytes in any::<i64>()) {
        let _ = human_size(bytes, 3);
        let _ = binary_size(bytes);
    }
}
