use proptest::prelude::*;

use super::*;

fn exit(code: i32) -> Exit {
    Exit {
        code,
        oom_killed: false,
        error: String::new(),
        started_at: Some(OffsetDateTime::UNIX_EPOCH),
        finished_at: Some(OffsetDateTime::UNIX_EPOCH),
    }
}

fn started() -> Change {
    Change::Started {
        pid: 7,
        at: OffsetDateTime::UNIX_EPOCH,
    }
}

/// Applies the changes in turn; the status at the end, or the first refusal.
fn check(changes: &[Change], expected: Result<&str, &str>) {
    let mut state = State::Created { failure: None };
    for change in changes {
        match state.after(change.clone()) {
            Ok(next) => state = next,
            Err(error) => {
                assert_eq!(Err(error.to_string().as_str()), expected);
                return;
            }
        }
    }
    assert_eq!(Ok(state.status()), expected, "{changes:?}");
}

#[test]
fn the_life_of_a_container() {
    check(&[], Ok("created"));
    check(&[started()], Ok("running"));
    check(&[started(), Change::Paused], Ok("paused"));
    check(&[started(), Change::Paused, Change::Resumed], Ok("running"));
    check(&[started(), Change::Exited(exit(3))], Ok("exited"));
    check(
        &[started(), Change::Exited(exit(3)), started()],
        Ok("running"),
    );
    check(
        &[started(), Change::ExitedToRestart(exit(1))],
        Ok("restarting"),
    );
    check(
        &[started(), Change::ExitedToRestart(exit(1)), started()],
        Ok("running"),
    );
    check(&[Change::StartFailed(exit(127))], Ok("created"));
    check(
        &[
            Change::RemovalBegan { volumes: false },
            Change::RemovalFailed("busy".into()),
        ],
        Ok("dead"),
    );
}

#[test]
fn what_is_not_possible_says_so() {
    check(
        &[started(), started()],
        Err("container is running: starting it is not possible"),
    );
    check(
        &[Change::Paused],
        Err("container is created: pausing it is not possible"),
    );
    check(
        &[started(), Change::RemovalBegan { volumes: false }],
        Err("container is running: removing it is not possible"),
    );
    check(
        &[Change::RemovalBegan { volumes: false }, started()],
        Err("container is removing: starting it is not possible"),
    );
}

#[test]
fn what_ran_before_a_crash_has_ended_after_it() {
    let running = State::Running {
        pid: 7,
        started_at: OffsetDateTime::UNIX_EPOCH,
    };
    let row = running.to_row();
    assert_eq!(
        State::from_row(&row, Some(exit(4))),
        State::Exited { last: exit(4) }
    );
    let lost = State::from_row(&row, None);
    assert_eq!(lost.last_exit().map(|exit| exit.code), Some(255));
}

#[test]
fn what_was_being_removed_says_how() {
    let created = State::Created { failure: None };
    let removing = created
        .after(Change::RemovalBegan { volumes: true })
        .unwrap();
    let row = removing.to_row();
    assert!(row.remove_volumes);
    assert_eq!(State::from_row(&row, None).status(), "dead");
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = prop_oneof![
        Just(started()),
        Just(Change::StartFailed(exit(127))),
        Just(Change::Paused),
        Just(Change::Resumed),
        Just(Change::Exited(exit(1))),
        Just(Change::ExitedToRestart(exit(1))),
        Just(Change::RestartCancelled),
        Just(Change::RemovalBegan { volumes: true }),
        Just(Change::RemovalFailed("x".into())),
    ];
    proptest::collection::vec(one, 0..40)
}

proptest! {
    /// Whatever happens: a pid exists exactly while a process does, and a
    /// container that is being removed never runs again.
    #[test]
    fn invariants_hold_on_every_path(changes in changes()) {
        let mut state = State::Created { failure: None };
        let mut removed = false;
        for change in changes {
            if let Ok(next) = state.after(change) {
                state = next;
            }
            removed |= matches!(state, State::Removing { .. });
            prop_assert_eq!(state.pid() != 0, state.is_up());
            prop_assert!(!(removed && state.is_up()));
            let back = State::from_row(&state.to_row(), None);
            prop_assert!(!back.is_up());
        }
    }
}
