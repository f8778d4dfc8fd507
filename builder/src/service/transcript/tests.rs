use builder_proto::api::{BuildFailure, BuildState, Event, LogStream, StepStatus};

use super::Transcript;

fn log(step: u32, data: &str) -> Event {
    Event::Log {
        step,
        stream: LogStream::Stdout,
        data: data.to_owned(),
    }
}

fn step(step: u32, status: StepStatus) -> Event {
    Event::Step {
        step,
        name: "[1/2] RUN make".to_owned(),
        status,
        duration_ms: 1234,
        error: Some("exit code: 2".to_owned()),
    }
}

fn check(events: &[Event], expected: &str) {
    let mut transcript = Transcript::default();
    let text: String = events.iter().map(|e| transcript.render(e)).collect();
    assert_eq!(text, expected);
}

#[test]
fn lines_are_whole_and_carry_the_number_of_their_step() {
    check(
        &[
            step(1, StepStatus::Started),
            log(1, "a\nb"),
            log(2, "x\n"),
            log(1, "c\n"),
            step(1, StepStatus::Done),
        ],
        "#1 [1/2] RUN make\n#1 a\n#2 x\n#1 bc\n#1 DONE 1.2s\n",
    );
}

#[test]
fn a_failure_ends_the_open_line_and_names_the_error() {
    check(
        &[
            log(1, "half"),
            step(1, StepStatus::Failed),
            Event::State {
                state: BuildState::Failed,
                digest: None,
                error: Some(BuildFailure {
                    message: "it failed".to_owned(),
                    ..BuildFailure::default()
                }),
            },
        ],
        "#1 half\n#1 ERROR: exit code: 2\nERROR: it failed\n",
    );
}
