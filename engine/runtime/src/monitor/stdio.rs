//! The monitor's ends of a container's standard streams.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use super::log::Stream;
use crate::init::program::Stdio;

/// One read: a pipe's default capacity.
const READ_BYTES: usize = 64 << 10;

/// The descriptors of [`Streams`].
pub(crate) type Ends = ([Option<OwnedFd>; 2], Option<OwnedFd>);

/// Output sources and the input sink.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Index 0 is standard output (or the terminal), 1 is standard error.
    pub(super) outputs: [Option<OwnedFd>; 2],
    pub(super) input: Input,
    is_terminal: bool,
}

/// Bytes on their way to the container, and who sent them.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(super) sink: Option<OwnedFd>,
    waiting: VecDeque<u8>,
    /// Sender and bytes, in order.
    senders: VecDeque<(u64, usize)>,
    close_when_empty: bool,
}

/// Pipes for a process: the monitor's ends and the process's.
pub(crate) fn pipes(open_stdin: bool) -> io::Result<(Streams, Stdio)> {
    let (stdout, child_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, child_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let (child_stdin, stdin) = match open_stdin {
        true => pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (Some(read), Some(write)))?,
        false => (None, None),
    };
    for fd in [Some(&stdout), Some(&stderr), stdin.as_ref()]
        .into_iter()
        .flatten()
    {
        // Only our end: the flag belongs to each end of a pipe.
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    let streams = Streams {
        outputs: [Some(stdout), Some(stderr)],
        input: Input {
            sink: stdin,
            ..Input::default()
        },
        is_terminal: false,
    };
    let child = Stdio::Pipes {
        stdin: child_stdin,
        stdout: child_stdout,
        stderr: child_stderr,
    };
    Ok((streams, child))
}

/// Streams of a terminal.
pub(crate) fn terminal(master: OwnedFd, size: Option<(u16, u16)>) -> io::Result<Streams> {
    rustix::io::ioctl_fionbio(&master, true)?;
    let streams = Streams {
        input: Input {
            sink: Some(master.try_clone()?),
            ..Input::default()
        },
        outputs: [Some(master), None],
        is_terminal: true,
    };
    if let Some((columns, rows)) = size {
        streams.resize(columns, rows);
    }
    Ok(streams)
}

impl Streams {
    /// No streams: before a terminal exists.
    pub(crate) fn none() -> Streams {
        Streams {
            outputs: [None, None],
            input: Input::default(),
            is_terminal: false,
        }
    }

    /// Separates the monitor's ends, so that a cloned child can drop its copy.
    pub(crate) fn take_ends(&mut self) -> Ends {
        (
            self.outputs.each_mut().map(Option::take),
            self.input.sink.take(),
        )
    }

    pub(crate) fn put_ends(&mut self, (outputs, sink): Ends) {
        self.outputs = outputs;
        self.input.sink = sink;
    }

    pub(super) fn resize(&self, columns: u16, rows: u16) {
        if let (true, Some(master)) = (self.is_terminal, &self.outputs[0]) {
            let size = Winsize {
                ws_col: columns,
                ws_row: rows,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // Only cosmetics are lost.
            let _ = tcsetwinsize(master, size);
        }
    }

    /// Reads what a source has into `buffer`. `Ok(0)` is its end.
    pub(super) fn read(&self, stream: Stream, buffer: &mut Vec<u8>) -> Result<usize, Errno> {
        let Some(source) = &self.outputs[stream as usize] else {
            return Ok(0);
        };
        buffer.resize(READ_BYTES, 0);
        let read = loop {
            match rustix::io::read(source, &mut buffer[..]) {
                Err(Errno::INTR) => {}
                // How a terminal says that nobody has it open any more.
                Err(Errno::IO) if self.is_terminal => break 0,
                other => break other?,
            }
        };
        buffer.truncate(read);
        Ok(read)
    }

    /// Bytes that a source holds now.
    pub(super) fn available(&self, stream: Stream) -> usize {
        let source = self.outputs[stream as usize].as_ref();
        let bytes = source
            .and_then(|fd| rustix::io::ioctl_fionread(fd).ok())
            .unwrap_or(0);
        usize::try_from(bytes).unwrap_or(0)
    }

    /// Ends the input when everything sent so far has been written. A terminal
    /// stays: its end is a character that only the client knows.
    pub(super) fn close_input(&mut self) {
        if !self.is_terminal {
            self.input.close_when_empty = true;
        }
    }
}

impl Input {
    pub(super) fn push(&mut self, sender: u64, data: &[u8]) {
        self.waiting.extend(data);
        self.senders.push_back((sender, data.len()));
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.sink.is_some() && !self.waiting.is_empty()
    }

    /// Writes what the container takes. Returns who is granted how much again.
    pub(super) fn write(&mut self) -> Vec<(u64, usize)> {
        let mut granted = Vec::new();
        while let (Some(sink), false) = (&self.sink, self.waiting.is_empty()) {
            let (first, _) = self.waiting.as_slices();
            match rustix::io::write(sink.as_fd(), first) {
                Ok(written) => {
                    self.waiting.drain(..written);
                    self.grant(written, &mut granted);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The container closed its input; what comes is for nobody.
                Err(_) => self.sink = None,
            }
        }
        if self.sink.is_none() {
            granted.extend(self.senders.drain(..));
            self.waiting.clear();
        }
        if self.close_when_empty && self.waiting.is_empty() {
            self.sink = None;
        }
        granted
    }

    fn grant(&mut self, mut written: usize, granted: &mut Vec<(u64, usize)>) {
        while let (Some((sender, left)), true) = (self.senders.front_mut(), written > 0) {
            let part = written.min(*left);
            granted.push((*sender, part));
            *left -= part;
            written -= part;
            if *left == 0 {
                self.senders.pop_front();
            }
        }
    }
}
