use std::io::Write as _;

use super::*;
use crate::layer::{Compression, LayerWriter};

fn pack(data: &[u8], compression: Compression) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new(), compression).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap().0
}

fn unpack_with(packed: &[u8], limits: Limits) -> Result<Vec<u8>, LayerError> {
    let mut data = Vec::new();
    Decoder::new(packed, None, limits)?
        .read_to_end(&mut data)
        .map_err(LayerError::from_io)?;
    Ok(data)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, LayerError> {
    unpack_with(packed, Limits::default())
}

const DATA: &[u8] = b"some data, some data, some more data";

#[test]
fn packings_are_told_by_their_bytes() {
    for (compression, packing) in [
        (Compression::None, Packing::Plain),
        (Compression::GZIP, Packing::Gzip),
        (Compression::ZSTD, Packing::Zstd),
    ] {
        let packed = pack(DATA, compression);
        assert_eq!(unpack(&packed).unwrap(), DATA);
        let decoder = Decoder::new(packed.as_slice(), None, Limits::default()).unwrap();
        assert_eq!(decoder.packing(), packing);
    }
}

/// Yields one byte a read, as a slow socket may.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.len().min(buffer.len()).min(1);
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

#[test]
fn short_reads_do_not_hide_the_packing() {
    let packed = pack(DATA, Compression::GZIP);
    let mut data = Vec::new();
    let mut decoder = Decoder::new(Trickle(&packed), None, Limits::default()).unwrap();
    decoder.read_to_end(&mut data).unwrap();
    assert_eq!(data, DATA);
}

#[test]
fn many_members_and_frames_are_one_stream() {
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let packed = [pack(DATA, compression), pack(DATA, compression)].concat();
        assert_eq!(unpack(&packed).unwrap(), [DATA, DATA].concat());
    }
}

#[test]
fn other_codecs_are_refused_by_name() {
    for (start, name) in [(&b"BZh91AY"[..], "bzip2"), (b"\xfd7zXZ\0\0", "xz")] {
        let error = unpack(start).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let media_type = MediaType::from("application/vnd.oci.image.layer.v1.tar+encrypted");
    let error = Decoder::new(DATA, Some(&media_type), Limits::default()).unwrap_err();
    assert!(error.to_string().contains("encrypted"), "{error}");
    for honest in [
        MediaType::OCI_LAYER_TAR,
        MediaType::OCI_LAYER_GZIP,
        MediaType::OCI_LAYER_ZSTD,
        MediaType::DOCKER_LAYER_GZIP,
        "application/octet-stream",
    ] {
        assert!(Decoder::new(DATA, Some(&MediaType::from(honest)), Limits::default()).is_ok());
    }
}

#[test]
fn every_cut_and_flip_of_a_packed_stream_is_noticed() {
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let packed = pack(DATA, compression);
        for length in 6..packed.len() {
            let error = unpack(&packed[..length]).unwrap_err();
            assert!(
                matches!(error, LayerError::Truncated(_)),
                "{length}: {error}"
            );
        }
        let mut damaged = packed.clone();
        let middle = packed.len() / 2;
        damaged[middle] ^= 0x10;
        let error = unpack(&damaged).unwrap_err();
        assert!(
            matches!(error, LayerError::Corrupt { .. } | LayerError::Truncated(_)),
            "{error}"
        );
        let garbage = [packed.as_slice(), b"garbage after the end"].concat();
        assert!(unpack(&garbage).is_err());
    }
}

#[test]
fn bombs_stop_at_the_ratio() {
    let limits = Limits {
        ratio_from_bytes: 1 << 20,
        ..Limits::default()
    };
    let zeros = vec![0; 4 << 20];
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let bomb = pack(&zeros, compression);
        let error = unpack_with(&bomb, limits).unwrap_err();
        assert!(matches!(error, LayerError::Bomb { .. }), "{error}");
        // Small layers of zeros are honest.
        assert!(unpack(&bomb).unwrap() == zeros);
    }
}

#[test]
fn a_large_zstd_window_is_refused_before_it_is_allocated() {
    // Magic; descriptor without single segment; window 2^31 (RFC 8878, 3.1.1).
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3];
    // A last raw block of one byte.
    frame.extend_from_slice(&[0x09, 0, 0, b'x']);
    let error = unpack(&frame).unwrap_err();
    assert!(matches!(error, LayerError::Corrupt { .. }), "{error}");
    // 2^27 is allowed.
    frame[5] = 17 << 3;
    assert_eq!(unpack(&frame).unwrap(), b"x");
}

#[test]
fn failures_of_the_source_are_not_blamed_on_the_stream() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    for compression in [Compression::GZIP, Compression::ZSTD, Compression::None] {
        let packed = pack(&[7; 100_000], compression);
        let input = packed[..packed.len() / 2].chain(Broken);
        let mut decoder = Decoder::new(input, None, Limits::default()).unwrap();
        let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
        let error = LayerError::from_io(error);
        assert!(matches!(error, LayerError::Source(_)), "{error}");
    }
}
