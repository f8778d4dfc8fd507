use super::{FALLBACK, hosts, resolv_conf};

fn check(host: &[&str], expected: &str) {
    assert_eq!(resolv_conf(host.iter().copied()), expected);
}

#[test]
fn servers_that_only_the_host_reaches_are_left_out() {
    check(
        &["# made by dhcp\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch lan\n"],
        "nameserver 10.0.0.2\nsearch lan\n",
    );
    check(
        &["nameserver 127.0.0.53\n", "nameserver 192.168.1.1\n"],
        "nameserver 192.168.1.1\n",
    );
    check(
        &["nameserver ::1\nnameserver x\nnameserver\n", ""],
        FALLBACK,
    );
    check(&[], FALLBACK);
}

#[test]
fn hosts_name_the_sandbox_and_what_was_asked_for() {
    let text = hosts(
        "buildkitsandbox",
        Some([172, 30, 0, 2].into()),
        &[("db".to_owned(), [10, 0, 0, 1].into())],
    );
    assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
    assert!(text.ends_with("10.0.0.1\tdb\n172.30.0.2\tbuildkitsandbox\n"));
}
