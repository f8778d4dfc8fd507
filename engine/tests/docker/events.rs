//! Events.

use crate::daemon::Daemon;

#[test]
fn events_tell_the_life_of_a_container() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "--rm", "--name", "short", image, "true"]);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let filters = "%7B%22container%22%3A%5B%22short%22%5D%7D";
    let path = format!("/events?since=0&until={until}&filters={filters}");
    let (_, body) = daemon.request("GET", &path, "");
    let actions: Vec<String> = body
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|event| Some(event.get("Action")?.as_str()?.to_owned()))
        .collect();
    assert_eq!(actions, ["create", "attach", "start", "die", "destroy"]);
}
