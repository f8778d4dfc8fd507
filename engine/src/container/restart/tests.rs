use super::*;

fn policy(text: &str) -> RestartPolicy {
    let (name, count) = text.split_once(':').unwrap_or((text, "0"));
    RestartPolicy {
        name: name.to_owned(),
        maximum_retry_count: count.parse().unwrap(),
    }
}

fn check(text: &str, exit_code: i32, stopped: bool, restarts: i64, expected: bool) {
    assert_eq!(
        wanted(&policy(text), exit_code, stopped, restarts),
        expected,
        "{text} {exit_code}"
    );
}

#[test]
fn policies_restart_as_dockers() {
    check("no", 1, false, 0, false);
    check("", 1, false, 0, false);
    check("always", 0, false, 100, true);
    check("always", 0, true, 0, false);
    check("unless-stopped", 0, false, 0, true);
    check("on-failure", 0, false, 0, false);
    check("on-failure", 1, false, 1000, true);
    check("on-failure:3", 1, false, 2, true);
    check("on-failure:3", 1, false, 3, false);
}

#[test]
fn only_always_comes_back_after_a_stop_when_the_daemon_starts() {
    let boot = |text: &str, stopped| wanted_at_boot(&policy(text), 1, stopped, true);
    assert!(boot("always", true) && boot("always", false));
    assert!(!boot("unless-stopped", true) && boot("unless-stopped", false));
    assert!(!boot("no", false));
    assert!(!wanted_at_boot(&policy("always"), 0, false, false));
}

#[test]
fn pauses_double_to_a_minute_and_start_over_after_a_good_run() {
    let short = Duration::from_secs(1);
    let mut last = None;
    for _ in 0..4 {
        last = Some(pause(last, short));
    }
    assert_eq!(last, Some(Duration::from_millis(800)));
    assert_eq!(pause(Some(Duration::from_secs(50)), short), PAUSE_MAX);
    assert_eq!(pause(last, Duration::from_secs(10)), PAUSE_MIN);
}
