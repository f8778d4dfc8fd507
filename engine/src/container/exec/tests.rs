use super::*;

fn check(before: ExecState, expected: std::result::Result<(), ExecState>, after: ExecState) {
    let state = watch::Sender::new(before.clone());
    assert_eq!(begin(&state), expected, "{before:?}");
    assert_eq!(*state.borrow(), after, "{before:?}");
}

#[test]
fn only_a_created_exec_begins_and_no_other_state_changes() {
    use ExecState::*;
    check(Created, Ok(()), Starting);
    for state in [Starting, Running { pid: 7 }, Ended { code: 0 }] {
        check(state.clone(), Err(state.clone()), state);
    }
}

#[test]
fn one_of_many_starters_wins() {
    let state = watch::Sender::new(ExecState::Created);
    let wins = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..8).map(|_| scope.spawn(|| begin(&state))).collect();
        let results = starters.into_iter().map(|one| one.join().unwrap());
        results.filter(std::result::Result::is_ok).count()
    });
    assert_eq!(wins, 1);
}

fn check_give_back(before: ExecState, launched: bool, after: ExecState) {
    let state = watch::Sender::new(before.clone());
    give_back(&state, launched);
    assert_eq!(*state.borrow(), after, "{before:?}, launched: {launched}");
}

#[test]
fn a_claim_that_is_dropped_leaves_a_running_exec_alone() {
    check_give_back(ExecState::Starting, false, ExecState::Created);
    check_give_back(ExecState::Starting, true, ExecState::Ended { code: 126 });
    let running = ExecState::Running { pid: 7 };
    check_give_back(running.clone(), true, running);
}
