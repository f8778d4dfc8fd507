//! The channel between the supervisor and a child: a socket pair that is the
//! child's standard input.
//!
//! The supervisor sends one byte that carries the child's listening sockets,
//! then lines of JSON; the child answers with lines of JSON. End of file tells
//! each side that the other is gone.

use std::{
    io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Most sockets that a child is handed.
const SOCKETS_MAX: usize = 4;

/// First line to a child.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    pub config: Config,
    /// User and group to become; `None`: stay who we are.
    pub become_user: Option<(u32, u32)>,
}

/// Later lines to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToChild {
    /// The engine process serves (or has stopped serving).
    EngineReady(bool),
    /// End, and give running requests this long to finish.
    Stop { within: Duration },
}

/// Lines from a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromChild {
    Ready,
    /// The administrator's password, generated at this start.
    AdminPassword(String),
    /// Has heard whether the engine process serves; readiness tells it now.
    Heard(bool),
    /// Told to stop, and no request or build of it needs the others any more.
    Drained,
    Failed(String),
}

/// Sends the sockets and the first line; called by the supervisor.
pub fn send_start(stream: &UnixStream, start: &Start, sockets: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(sockets)) {
        bail!("more than {SOCKETS_MAX} sockets for one child");
    }
    sendmsg(
        stream,
        &[IoSlice::new(b"S")],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )
    .context("send the sockets to a child process")?;
    let mut writer = stream;
    write_line(&mut writer, start).context("send the settings to a child process")
}

/// Writes one JSON line.
pub fn write_line(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line)
}

/// The half of the channel by which a child tells.
#[derive(Debug)]
pub struct Teller(UnixStream);

impl Teller {
    /// Another one, for another thread.
    pub fn another(&self) -> Result<Self> {
        self.0.try_clone().map(Self).context("clone the channel")
    }

    /// Tells the supervisor something; a supervisor that is gone is noticed by
    /// [`Listener::listen`].
    pub fn tell(&mut self, message: &FromChild) {
        let _ = write_line(&mut self.0, message);
    }
}

/// The half of the channel by which a child hears.
#[derive(Debug)]
pub struct Listener(BufReader<UnixStream>);

impl Listener {
    /// Calls `each` for every later line, then `gone` once the supervisor is
    /// gone, on a thread of its own.
    pub fn listen(
        self,
        mut each: impl FnMut(ToChild) + Send + 'static,
        gone: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        std::thread::Builder::new()
            .name("supervisor-channel".to_owned())
            .spawn(move || {
                let lines = self.0.lines().map_while(Result::ok);
                lines
                    .filter_map(|line| serde_json::from_str(&line).ok())
                    .for_each(&mut each);
                gone();
            })
            .map(drop)
            .context("start the channel thread")
    }
}

/// What a child finds at its start.
#[derive(Debug)]
pub struct ChildEnd {
    pub teller: Teller,
    pub listener: Listener,
    pub start: Start,
    pub sockets: Vec<OwnedFd>,
}

impl ChildEnd {
    /// Takes the channel from standard input and reads what the child starts with.
    pub fn take() -> Result<Self> {
        let stdin = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .context("take the channel")?;
        let stream = UnixStream::from(stdin);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let received = recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .context("receive the sockets: this command is started by `carrack serve` only")?;
        if received.bytes != 1 {
            bail!("this command is started by `carrack serve` only");
        }
        let sockets = ancillary
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
                _ => Vec::new(),
            })
            .collect();
        let teller = Teller(stream.try_clone().context("clone the channel")?);
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .context("receive the settings")?;
        let start = serde_json::from_str(&line).context("read the settings")?;
        Ok(Self {
            teller,
            listener: Listener(reader),
            start,
            sockets,
        })
    }
}

/// The front's TCP socket, from the sockets it was handed.
pub fn tcp_listener(sockets: Vec<OwnedFd>) -> Result<TcpListener> {
    let socket = sockets
        .into_iter()
        .next()
        .context("no listening socket was handed over")?;
    Ok(TcpListener::from(socket))
}

/// The engine process's unix sockets, from the sockets it was handed.
pub fn unix_listeners(sockets: Vec<OwnedFd>) -> Vec<UnixListener> {
    sockets.into_iter().map(UnixListener::from).collect()
}
