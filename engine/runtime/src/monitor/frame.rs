//! Frames on a monitor's sockets: one byte of kind, three zero bytes, the
//! payload's length as little-endian u32, the payload.
//!
//! Both ends are the same binary in different processes, possibly of different
//! versions after an upgrade, so kinds keep their numbers.

use std::io;

pub(crate) const HEADER_BYTES: usize = 8;

/// Largest payload: a specification with 2 MiB of arguments in JSON.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// To the monitor: what to run, as JSON.
    Spec = 1,
    /// Compiled system call filter, 8 bytes an instruction; empty for none.
    Filter = 2,
    Start = 3,
    Stdin = 4,
    CloseStdin = 5,
    /// Columns and rows, u16 little-endian each.
    Resize = 6,
    /// Signal number, i32 little-endian.
    Signal = 7,
    /// Asks for the pidfd and cgroup of a running container.
    Join = 8,
    /// Stops output on this connection.
    Mute = 9,

    /// From the monitor: a greeting as JSON.
    Created = 65,
    Started = 66,
    /// A failure as JSON.
    Failed = 67,
    Stdout = 68,
    Stderr = 69,
    /// An exit status as JSON.
    Exited = 70,
    /// Answer to `Join`, as JSON, with the pidfd attached.
    Joined = 71,
    /// Bytes of standard input that reached the container, u32 little-endian.
    Credit = 72,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        [
            Spec, Filter, Start, Stdin, CloseStdin, Resize, Signal, Join, Mute, Created, Started,
            Failed, Stdout, Stderr, Exited, Joined, Credit,
        ]
        .into_iter()
        .find(|&kind| kind as u8 == byte)
    }
}

/// Kind and payload length of the frame that starts with `header`.
///
/// # Errors
/// `InvalidData` for an unknown kind or a length over the limit.
pub(crate) fn parse_header(header: [u8; HEADER_BYTES]) -> io::Result<(Kind, usize)> {
    let [kind, _, _, _, length @ ..] = header;
    let length = u32::from_le_bytes(length) as usize;
    match Kind::from_byte(kind) {
        Some(kind) if length <= PAYLOAD_BYTES_MAX => Ok((kind, length)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "malformed monitor frame",
        )),
    }
}

/// Splits the first whole frame off `buffer`: kind, payload range, total size.
pub(crate) fn first(buffer: &[u8]) -> io::Result<Option<(Kind, usize)>> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let (kind, length) = parse_header(*header)?;
    Ok((buffer.len() >= HEADER_BYTES + length).then_some((kind, length)))
}

pub(crate) fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(length)
        .expect("payloads are at most 16 MiB")
        .to_le_bytes();
    let [a, b, c, d] = length;
    [kind as u8, 0, 0, 0, a, b, c, d]
}

/// Appends a frame.
pub(crate) fn push(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    out.extend_from_slice(&header(kind, payload.len()));
    out.extend_from_slice(payload);
}

/// Reads one frame from a blocking stream; `None` at its end.
pub(crate) fn read(stream: &mut impl io::Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut header = [0; HEADER_BYTES];
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match stream.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let (kind, length) = parse_header(header)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(Some((kind, payload)))
}

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;
