use std::io::Read as _;

use super::*;
use crate::layer::{Decoder, Limits};

#[test]
fn digests_are_those_of_the_bytes() {
    let data = b"layer ".repeat(50_000);
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        let mut writer = LayerWriter::new(Vec::new(), compression).unwrap();
        writer.write_all(&data).unwrap();
        let (bytes, written) = writer.finish().unwrap();
        let expected = Written {
            diff_id: Digest::sha256(&data),
            digest: Digest::sha256(&bytes),
            size_bytes: bytes.len() as u64,
            uncompressed_bytes: data.len() as u64,
        };
        assert_eq!(written, expected);
        let mut unpacked = Vec::new();
        Decoder::new(
            bytes.as_slice(),
            Some(&compression.media_type()),
            Limits::default(),
        )
        .unwrap()
        .read_to_end(&mut unpacked)
        .unwrap();
        assert!(unpacked == data);
    }
}
