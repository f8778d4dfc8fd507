//! Server-sent events, as they arrive.
//!
//! Source: the HTML standard, "Server-sent events", section "Interpreting an
//! event stream". Memory is bounded whatever the server sends.

/// Longest event, in bytes.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerEvent {
    /// The last `id:` so far, also of earlier events.
    pub(super) id: String,
    pub(super) data: String,
}

/// The server sent an event that is larger than any build's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the server sent an event of more than {EVENT_BYTES_MAX} bytes")]
pub(super) struct TooLarge;

/// Splits a byte stream into events.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte was CR: an LF right after it belongs to it.
    after_cr: bool,
    id: String,
    data: String,
    has_data: bool,
}

impl Parser {
    /// Takes bytes that arrived; gives the events that they complete.
    ///
    /// # Errors
    /// When an event is too large; the stream is of no use then.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, TooLarge> {
        let mut events = Vec::new();
        for byte in bytes {
            let follows_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => self.end_line(&mut events),
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                return Err(TooLarge);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, events: &mut Vec<ServerEvent>) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                events.push(ServerEvent {
                    id: self.id.clone(),
                    data: std::mem::take(&mut self.data),
                });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            // Comments keep the connection alive; the type is in the data too.
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "sse/tests.rs"]
mod tests;
