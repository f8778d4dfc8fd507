//! The frames of attach, exec and logs when the process has no terminal.

/// Bytes in front of each frame: stream, three zeros, big-endian length.
pub const FRAME_HEADER_BYTES: usize = 8;

/// Which stream a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamKind {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// An error of the daemon itself after the streams began.
    SystemError = 3,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub stream: StreamKind,
    pub len_bytes: u32,
}

impl Frame {
    pub fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let [a, b, c, d] = self.len_bytes.to_be_bytes();
        [self.stream as u8, 0, 0, 0, a, b, c, d]
    }

    /// `None` when the first byte names no stream.
    pub fn parse(header: [u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let [stream, _, _, _, a, b, c, d] = header;
        let stream = match stream {
            0 => StreamKind::Stdin,
            1 => StreamKind::Stdout,
            2 => StreamKind::Stderr,
            3 => StreamKind::SystemError,
            _ => return None,
        };
        Some(Self {
            stream,
            len_bytes: u32::from_be_bytes([a, b, c, d]),
        })
    }
}
