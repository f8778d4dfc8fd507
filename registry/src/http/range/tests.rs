use proptest::prelude::*;

use super::*;

fn check(header: &str, size: u64, expected: &str) {
    let shown = match wanted(Some(header), size) {
        Wanted::Whole => "whole".to_owned(),
        Wanted::Part(part) => format!("{}..{}", part.start, part.end),
        Wanted::Outside => "outside".to_owned(),
    };
    assert_eq!(shown, expected, "{header} of {size}");
}

#[test]
fn ranges_are_read() {
    check("bytes=0-0", 10, "0..1");
    check("bytes=2-5", 10, "2..6");
    check("bytes=2-", 10, "2..10");
    check("bytes=2-500", 10, "2..10");
    check("bytes=-3", 10, "7..10");
    check("bytes=-30", 10, "0..10");
    check("bytes=10-", 10, "outside");
    check("bytes=-0", 10, "outside");
    check("bytes=-1", 0, "outside");
    check("bytes=0-18446744073709551615", 10, "0..10");
    check("bytes=0-18446744073709551616", 10, "whole");
    check("bytes=5-2", 10, "outside");
    check("bytes=0-1,3-4", 10, "whole");
    check("items=0-1", 10, "whole");
    check("bytes=+1-2", 10, "whole");
    check("bytes=a-b", 10, "whole");
    check("bytes=-", 10, "whole");
    check("bytes", 10, "whole");
}

#[test]
fn upload_ranges_are_read() {
    assert_eq!(content_range("0-9"), Some((0, 9)));
    assert_eq!(content_range("bytes 5-9/10"), Some((5, 9)));
    assert_eq!(content_range("9-5"), None);
    assert_eq!(content_range("0-18446744073709551615"), None);
    assert_eq!(content_range("-5"), None);
    assert_eq!(content_range("x"), None);
}

proptest! {
    #[test]
    fn parts_lie_inside(header in "(bytes=)?[0-9,-]{0,24}", size in 0u64..1000) {
        if let Wanted::Part(part) = wanted(Some(&header), size) {
            prop_assert!(part.start < part.end && part.end <= size);
        }
        if let Some((first, last)) = content_range(&header) {
            prop_assert!(first <= last);
        }
    }
}
