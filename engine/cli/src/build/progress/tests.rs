use std::sync::{Arc, Mutex};

use builder_proto::api::{LogStream, StepStatus};

use super::*;

/// Collects what is drawn.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// What a terminal shows at the end: honours the two sequences that we use.
    fn visible(&self) -> String {
        let mut lines: Vec<String> = vec![String::new()];
        let mut rest = self.text();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("\x1b[") {
                let end = after.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let (number, letter) = (&after[..end], &after[end..=end]);
                match letter {
                    "A" => lines.truncate(lines.len() - number.parse::<usize>().unwrap()),
                    "J" => lines.last_mut().unwrap().clear(),
                    _ => {}
                }
                rest = after[end + 1..].to_owned();
                continue;
            }
            match rest.remove(0) {
                '\n' => lines.push(String::new()),
                '\r' => {}
                ch => lines.last_mut().unwrap().push(ch),
            }
        }
        lines.join("\n")
    }
}

fn step(step: u32, name: &str, status: StepStatus, duration_ms: u64) -> Event {
    Event::Step {
        step,
        name: name.to_owned(),
        status,
        duration_ms,
        error: (status == StepStatus::Failed).then(|| "exit code: 2".to_owned()),
    }
}

fn log(step: u32, data: &str) -> Event {
    Event::Log {
        step,
        stream: LogStream::Stdout,
        data: data.to_owned(),
    }
}

fn state(state: BuildState) -> Event {
    let failed = state == BuildState::Failed;
    Event::State {
        state,
        digest: (state == BuildState::Succeeded).then(|| "sha256:00".to_owned()),
        error: failed.then(|| BuildFailure {
            message: "process \"/bin/sh -c make\" did not complete successfully: exit code: 2"
                .to_owned(),
            file: Some("Dockerfile".to_owned()),
            line: Some(3),
            instruction: Some("RUN".to_owned()),
            excerpt: Some("Dockerfile:3\n----\n   3 | >>> RUN make\n----\n".to_owned()),
            exit_code: Some(2),
        }),
    }
}

/// Two steps that run at once, one of which fails.
fn failing() -> Vec<Event> {
    vec![
        state(BuildState::Running),
        step(1, "[1/3] FROM base", StepStatus::Cached, 0),
        step(2, "[a 2/3] RUN make", StepStatus::Started, 0),
        step(3, "[b 1/1] RUN slow", StepStatus::Started, 0),
        log(2, "compiling\nhalf a "),
        log(3, "waiting\n"),
        log(2, "line\n10%\r50%\r99%\rdone\nmake: Error"),
        step(2, "[a 2/3] RUN make", StepStatus::Failed, 1_500),
        step(3, "[b 1/1] RUN slow", StepStatus::Cancelled, 1_400),
        Event::Warning {
            message: "use fewer layers".to_owned(),
        },
        state(BuildState::Failed),
    ]
}

/// Times are not what a snapshot can hold.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words = line.split(' ').map(|word| {
            let number = word.trim_end_matches('s');
            let time = number.contains('.') && number.parse::<f64>().is_ok();
            if time { "T" } else { word }
        });
        out.push_str(&words.collect::<Vec<_>>().join(" "));
        out.push('\n');
    }
    out
}

fn play(display: Display, events: &[Event]) -> (Progress, Screen) {
    let screen = Screen::default();
    let mut progress = Progress::to(display, Box::new(screen.clone()));
    for event in events {
        progress.event(event).unwrap();
    }
    (progress, screen)
}

const LOOK: Look = Look {
    color: false,
    log_lines: 2,
};

#[test]
fn plain_lines() {
    let (mut progress, screen) = play(Display::Plain(Plain::default()), &failing());
    progress.summary("b1").unwrap();
    insta::assert_snapshot!(timeless(&screen.text()));
}

#[test]
fn the_end_of_a_terminals_view() {
    let (_, screen) = play(Display::Tty(Tty::sized(LOOK, 20, 60)), &failing());
    insta::assert_snapshot!(timeless(&screen.visible()));
}

#[test]
fn a_running_terminals_view_shows_the_end_of_each_log() {
    let tty = Tty::sized(LOOK, 20, 60);
    let (mut progress, screen) = play(Display::Tty(tty), &failing()[..7]);
    progress
        .event(&Event::Progress {
            step: 3,
            id: "sha256:1234".to_owned(),
            status: "downloading".to_owned(),
            current: 1_200_000,
            total: 3_000_000,
        })
        .unwrap();
    progress.message("hello").unwrap();
    insta::assert_snapshot!(timeless(&screen.visible()));
}

#[test]
fn a_small_terminal_is_never_overrun() {
    let mut events = vec![state(BuildState::Running)];
    for number in 0..40 {
        events.push(step(
            number,
            &format!("[{number}/40] RUN {}", "x".repeat(200)),
            StepStatus::Started,
            0,
        ));
        events.push(log(number, "output\tthat \x1b[31mmoves\x1b[0m\x08\n"));
    }
    let (mut progress, screen) = play(Display::Tty(Tty::sized(LOOK, 10, 40)), &events);
    progress.message("end").unwrap();
    let visible = screen.visible();
    let drawn: Vec<&str> = visible
        .lines()
        .skip_while(|line| *line != "end")
        .skip(1)
        .collect();
    assert!(drawn.len() < 10, "{drawn:?}");
    assert!(
        drawn.iter().all(|line| line.chars().count() <= 40),
        "{drawn:?}"
    );
    assert!(
        drawn
            .iter()
            .any(|line| line.contains("output    that moves")),
        "{drawn:?}"
    );
}

#[test]
fn redraws_are_rare() {
    let mut events = vec![
        state(BuildState::Running),
        step(1, "a", StepStatus::Started, 0),
    ];
    events.extend((0..5_000).map(|number| log(1, &format!("{number}\n"))));
    let began = std::time::Instant::now();
    let (_, screen) = play(Display::Tty(Tty::sized(LOOK, 10, 40)), &events);
    let drawings = screen.text().matches("[+] Building").count() as u128;
    let allowed = began.elapsed().as_millis() / REDRAW_PAUSE.as_millis() + 2;
    assert!(
        drawings <= allowed,
        "{drawings} drawings, {allowed} allowed"
    );
}

#[test]
fn raw_and_quiet() {
    let (_, screen) = play(Display::Raw, &failing());
    let text = screen.text();
    let events: Vec<Event> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events, failing());
    let (_, screen) = play(Display::Quiet, &failing());
    assert_eq!(screen.text(), "");
}

#[test]
fn long_logs_are_bounded() {
    let mut record = Record::default();
    for _ in 0..1_000 {
        record.apply(&log(1, &"x".repeat(4_096)));
    }
    for number in 0..1_000 {
        record.apply(&log(1, &format!("{number}\n")));
    }
    let step = record.step(1).unwrap();
    let tail = step.tail(usize::MAX);
    assert_eq!(tail.len(), 200);
    assert_eq!(*tail.last().unwrap(), "999");
}
