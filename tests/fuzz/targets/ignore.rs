//! Any text as an ignore file and any path: matching never panics, and a
//! directory that may be skipped holds nothing that is kept.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::ignore::Ignore;

fuzz_target!(|input: (&str, &str)| {
    let (text, path) = input;
    let Ok(ignore) = Ignore::parse(text) else {
        return;
    };
    if !ignore.is_ignored(path) {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            // Paths of a walk have no empty parts.
            let walked = !path.split('/').any(|part| part.is_empty() || part == ".");
            assert!(!walked || !ignore.is_pruned(parent), "{text:?} {path:?}");
        }
    }
});
