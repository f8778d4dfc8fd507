//! Events.

use crate::daemon::Daemon;

#[test]
fn events_tell_the_life_of_a_container() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "--rm", "--name", "short", image, "true"]);
    let actions = actions(
        &daemon,
        "&filters=%7B%22container%22%3A%5B%22short%22%5D%7D",
    );
    assert_eq!(actions, ["create", "attach", "start", "die", "destroy"]);
}

#[test]
fn events_tell_what_a_container_is_attached_to() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "--rm", "-v", "/data", image, "true"]);
    let of = |kind: &str| {
        let filters = format!("&filters=%7B%22type%22%3A%5B%22{kind}%22%5D%7D");
        actions(&daemon, &filters)
    };
    assert_eq!(of("network"), ["connect", "disconnect"]);
    assert_eq!(of("volume"), ["create", "mount", "unmount", "destroy"]);
}

/// The actions so far, in their order.
fn actions(daemon: &Daemon, filters: &str) -> Vec<String> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let path = format!("/events?since=0&until={until}{filters}");
    let (_, body) = daemon.request("GET", &path, "");
    body.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|event| Some(event.get("Action")?.as_str()?.to_owned()))
        .collect()
}
