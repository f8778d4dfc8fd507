//! Splits the multiplexed output of attach, exec and logs.
//!
//! Frames: engine-api `stream`. A frame may be cut anywhere by the transport
//! and is passed on as it arrives, so memory stays bounded by the transport's
//! reads, whatever length a header claims.

use engine_api::{FRAME_HEADER_BYTES, Frame, StreamKind};

/// The peer sent something that is no frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the engine sent a frame of unknown stream {0}")]
pub struct FrameError(pub u8);

/// Where in the stream of frames we are.
#[derive(Debug)]
enum State {
    Header {
        bytes: [u8; FRAME_HEADER_BYTES],
        have: usize,
    },
    Body {
        stream: StreamKind,
        left_bytes: usize,
    },
}

/// Incremental splitter.
#[derive(Debug)]
pub struct Demux {
    state: State,
}

const START: State = State::Header {
    bytes: [0; FRAME_HEADER_BYTES],
    have: 0,
};

impl Default for Demux {
    fn default() -> Self {
        Self { state: START }
    }
}

impl Demux {
    /// Takes what arrived; gives the pieces of payload in it, in order.
    ///
    /// # Errors
    /// When a header names a stream that does not exist. The stream is
    /// unusable from then on.
    pub fn push<'a>(
        &mut self,
        mut input: &'a [u8],
    ) -> Result<Vec<(StreamKind, &'a [u8])>, FrameError> {
        let mut pieces = Vec::new();
        while !input.is_empty() {
            match &mut self.state {
                State::Header { bytes, have } => {
                    let take = input.len().min(FRAME_HEADER_BYTES - *have);
                    bytes[*have..*have + take].copy_from_slice(&input[..take]);
                    *have += take;
                    input = &input[take..];
                    if *have == FRAME_HEADER_BYTES {
                        let frame = Frame::parse(*bytes).ok_or(FrameError(bytes[0]))?;
                        self.state = match frame.len_bytes {
                            0 => START,
                            len => State::Body {
                                stream: frame.stream,
                                left_bytes: len as usize,
                            },
                        };
                    }
                }
                State::Body { stream, left_bytes } => {
                    let take = input.len().min(*left_bytes);
                    pieces.push((*stream, &input[..take]));
                    input = &input[take..];
                    *left_bytes -= take;
                    if *left_bytes == 0 {
                        self.state = START;
                    }
                }
            }
        }
        Ok(pieces)
    }

    /// Whether the stream may end here: not inside a frame.
    pub fn is_at_boundary(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }
}

#[cfg(test)]
#[path = "frames/tests.rs"]
mod tests;
