//! The tar reader on arbitrary bytes: no panic, names that stay inside, and
//! what it accepts survives being written and read again.

#![no_main]

use std::{io::Read as _, path::Component};

use libfuzzer_sys::fuzz_target;
use oci::layer::{Entry, EntryKind, LayerError, Limits, TarReader, TarWriter};

fuzz_target!(|data: &[u8]| {
    let Ok(members) = read(data) else { return };
    let mut tar = TarWriter::new(Vec::new());
    for (entry, content) in &members {
        assert!(
            entry
                .path
                .components()
                .all(|c| matches!(c, Component::Normal(_))),
            "{entry:?}"
        );
        if let EntryKind::HardLink(target) = &entry.kind {
            assert!(
                target
                    .components()
                    .all(|c| matches!(c, Component::Normal(_)))
            );
        }
        tar.append(entry, &mut content.as_slice())
            .expect("a vector takes everything");
    }
    let written = tar.finish().expect("a vector takes everything");
    let again = read(&written).expect("what we wrote we read");
    // Times are written in whole seconds.
    let seconds = |(mut entry, content): (Entry, Vec<u8>)| {
        entry.mtime.nsec = 0;
        (entry, content)
    };
    assert!(again.into_iter().eq(members.into_iter().map(seconds)));
});

fn read(data: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    let mut tar = TarReader::new(data, Limits::default());
    let mut members = Vec::new();
    while let Some(entry) = tar.next_entry()? {
        let mut content = Vec::new();
        tar.read_to_end(&mut content).map_err(LayerError::from_io)?;
        members.push((entry, content));
    }
    Ok(members)
}
