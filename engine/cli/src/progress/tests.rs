use engine_api::ProgressDetail;

use super::*;

fn event(id: &str, status: &str, moved: Option<(u64, u64)>) -> Progress {
    Progress {
        id: id.to_owned(),
        status: status.to_owned(),
        progress_detail: moved.map(|(current, total)| ProgressDetail { current, total }),
        ..Progress::default()
    }
}

#[track_caller]
fn check(columns: Option<usize>, events: &[Progress], expected: &str) {
    let mut out = Vec::new();
    let mut display = Display::new(&mut out, columns);
    for event in events {
        display.draw(event).unwrap();
    }
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn plain_output_has_each_status_once_and_no_bars() {
    check(
        None,
        &[
            event("latest", "Pulling from library/busybox", None),
            event("aa", "Pulling fs layer", Some((0, 0))),
            event("aa", "Downloading", Some((10, 20))),
            event("aa", "Pull complete", Some((0, 0))),
            event(
                "",
                "Status: Downloaded newer image for busybox:latest",
                None,
            ),
        ],
        "latest: Pulling from library/busybox\naa: Pulling fs layer\naa: Pull complete\n\
         Status: Downloaded newer image for busybox:latest\n",
    );
}

#[test]
fn a_terminal_redraws_a_layer_in_its_line() {
    check(
        Some(100),
        &[
            event("aa", "Waiting", Some((0, 0))),
            event("bb", "Waiting", Some((0, 0))),
            event("aa", "Downloading", Some((1_000_000, 2_000_000))),
            event("", "Done", None),
        ],
        "aa: Waiting\nbb: Waiting\n\x1b[2A\r\x1b[2Kaa: Downloading      1MB/2MB\x1b[2B\rDone\n",
    );
}

#[test]
fn wide_terminals_get_a_bar_and_no_line_is_longer_than_the_terminal() {
    let half = event("aa", "Downloading", Some((50, 100)));
    let bar = bar(&half, 120).unwrap();
    assert_eq!(
        bar,
        format!("[{}>{}]      50B/100B", "=".repeat(25), " ".repeat(25))
    );
    check(Some(5), &[event("aa", "Downloading", None)], "aa: D\n");
}

#[test]
fn escape_sequences_of_a_registry_do_not_reach_the_terminal() {
    check(Some(80), &[event("a\x1b[2J", "x\x07y", None)], "a[2J: xy\n");
}

#[test]
fn failures_come_in_band() {
    let failed = Progress {
        error: "denied".to_owned(),
        ..Progress::default()
    };
    assert_eq!(
        failure(&failed).unwrap_err().to_string(),
        "Error response from daemon: denied"
    );
    assert!(failure(&event("a", "b", None)).is_ok());
}
