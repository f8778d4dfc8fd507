//! Decompression and tar together on arbitrary bytes: no panic, bounded output.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::layer::{Decoder, Limits, TarReader};

fuzz_target!(|data: &[u8]| {
    let limits = Limits {
        ratio_from_bytes: 1 << 20,
        ..Limits::default()
    };
    let Ok(decoder) = Decoder::new(data, None, limits) else {
        return;
    };
    let mut tar = TarReader::new(decoder, limits);
    while let Ok(Some(_)) = tar.next_entry() {}
});
