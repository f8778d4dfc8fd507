use super::*;

#[test]
fn lines_of_the_container_are_chosen_by_their_pid() {
    let text = "  PID USER  COMMAND\n    7 root  sh -c sleep 1\n   70 root  other\n    8 root\n";
    let found = select(text, &[7, 8]).unwrap();
    assert_eq!(found.titles, ["PID", "USER", "COMMAND"]);
    assert_eq!(found.processes, [["7", "root", "sh -c sleep 1"]]);
    let error = select("USER\nroot\n", &[7]).unwrap_err();
    assert_eq!(error.to_string(), "Couldn't find PID field in ps output");
}
