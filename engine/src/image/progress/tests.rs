use super::*;

fn check(current: u64, total: u64, expected: &str) {
    assert_eq!(bar(current, total), expected, "{current}/{total}");
}

#[test]
fn bars_are_fifty_wide() {
    check(0, 0, "");
    check(0, 1000, &format!("[>{}]       0B/1.000kB", " ".repeat(49)));
    check(
        500,
        1000,
        &format!("[{}>{}]     500B/1.000kB", "=".repeat(25), " ".repeat(24)),
    );
    check(
        1000,
        1000,
        &format!("[{}]  1.000kB/1.000kB", "=".repeat(50)),
    );
}

#[test]
fn a_cancelled_transfer_ends_the_reader() {
    let (sender, receiver) = mpsc::channel(1);
    let meter = Meter::new(Sink::new(sender), "Downloading", "x", 3);
    let mut reader = Counted::new(&b"abc"[..], meter);
    let mut byte = [0];
    assert_eq!(reader.read(&mut byte).unwrap(), 1);
    drop(receiver);
    assert!(reader.read(&mut byte).is_err());
}
