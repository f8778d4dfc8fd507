use proptest::prelude::*;

use super::*;

fn check(input: &str, canonical: &str, familiar: &str) {
    let reference: Reference = input.parse().unwrap();
    assert_eq!(
        reference.to_string(),
        canonical,
        "canonical form of {input}"
    );
    assert_eq!(reference.familiar(), familiar, "familiar form of {input}");
    assert_eq!(canonical.parse::<Reference>().unwrap(), reference);
    assert_eq!(familiar.parse::<Reference>().unwrap(), reference);
}

#[test]
fn short_names_mean_docker_hub() {
    check("busybox", "docker.io/library/busybox", "busybox");
    check(
        "busybox:1.36",
        "docker.io/library/busybox:1.36",
        "busybox:1.36",
    );
    check("grafana/loki", "docker.io/grafana/loki", "grafana/loki");
    check(
        "index.docker.io/busybox",
        "docker.io/library/busybox",
        "busybox",
    );
}

#[test]
fn hosts_and_ports() {
    check("localhost:5000/a", "localhost:5000/a", "localhost:5000/a");
    check("localhost/a/b:t", "localhost/a/b:t", "localhost/a/b:t");
    check(
        "127.0.0.1:5000/team/app:1",
        "127.0.0.1:5000/team/app:1",
        "127.0.0.1:5000/team/app:1",
    );
    check("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app");
}

#[test]
fn digests() {
    let digest = Digest::sha256(b"");
    check(
        &format!("r.example/a:1@{digest}"),
        &format!("r.example/a:1@{digest}"),
        &format!("r.example/a:1@{digest}"),
    );
}

#[test]
fn loopback() {
    let loopback = |text: &str| text.parse::<Reference>().unwrap().is_loopback();
    assert!(loopback("localhost:5000/a"));
    assert!(loopback("127.9.9.9:1/a"));
    assert!(loopback("[::1]:5000/a"));
    assert!(!loopback("busybox"));
    assert!(!loopback("registry.example:5000/a"));
}

#[test]
fn refuses() {
    for bad in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "a/B",
        "localhost:5000/",
        "a:",
        "a:b:c",
        "a:.x",
        "a@",
        "a@sha256:abc",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "../etc",
        "a/../b",
        "a b",
        "a\0b",
        "a%2fb",
        "host.example:99999/a",
        "[::zz]:1/a",
        "é",
    ] {
        assert!(bad.parse::<Reference>().is_err(), "{bad:?} must not parse");
    }
    assert!(Repository::parse(&"a".repeat(256)).is_err());
    assert!(Tag::parse(&"a".repeat(129)).is_err());
    assert!(Tag::parse(&"a".repeat(128)).is_ok());
}

proptest! {
    #[test]
    fn never_panics_and_round_trips(text in "\\PC{0,80}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn component_matches_the_grammar(text in "[a-z0-9._-]{1,20}") {
        let parsed = Repository::parse(&text).is_ok();
        let mut ok = true;
        let mut rest = text.as_str();
        // A reading of the grammar by repeated stripping, unlike the scanner's.
        loop {
            let n = rest.bytes().take_while(|b| b.is_ascii_alphanumeric()).count();
            if n == 0 { ok = false; break; }
            rest = &rest[n..];
            if rest.is_empty() { break; }
            let m = rest.bytes().take_while(|b| !b.is_ascii_alphanumeric()).count();
            let separator = &rest[..m];
            if !(matches!(separator, "." | "_" | "__") || separator.chars().all(|c| c == '-')) {
                ok = false;
                break;
            }
            rest = &rest[m..];
        }
        prop_assert_eq!(parsed, ok);
    }
}
