use builder_proto::api::BuildState::{self, Cancelled, Failed, Queued, Running, Succeeded};

use super::{Action, next};

fn check(state: BuildState, action: Action, expected: Option<BuildState>) {
    assert_eq!(next(state, action), expected, "{state:?} {action:?}");
}

#[test]
fn a_build_starts_once_and_ends_once() {
    check(Queued, Action::Start, Some(Running));
    check(Running, Action::Start, None);
    check(Running, Action::Succeed, Some(Succeeded));
    check(Queued, Action::Succeed, None);
    check(Running, Action::Requeue, Some(Queued));
    check(Queued, Action::Cancel, Some(Cancelled));
}

#[test]
fn nothing_leaves_an_ended_state() {
    for state in [Succeeded, Failed, Cancelled] {
        assert!(state.is_ended());
        for action in [
            Action::Start,
            Action::Succeed,
            Action::Fail,
            Action::Cancel,
            Action::Requeue,
        ] {
            check(state, action, None);
        }
    }
}
