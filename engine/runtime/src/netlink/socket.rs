//! A netlink socket: requests with acknowledgements, dumps, notifications.
#![expect(
    unsafe_code,
    reason = "setsockopt(SOL_NETLINK), which rustix does not offer"
)]

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt},
};

use super::{
    attribute::{Attributes, find, read_text},
    message::{DecodeError, EncodeError, Frame, HEADER_BYTES, Message, Messages, align},
};

/// The kernel's dump buffers are at most 32 KiB; twice that is never cut.
const RECEIVE_BYTES: usize = 64 * 1024;

/// The kernel answers within the send; only a dump is waited for. A second of
/// silence therefore means a lost message, not a slow one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
/// The error message does not repeat the request (`NLM_F_CAPPED`).
const FLAG_CAPPED: u16 = 0x100;
/// The error message carries attributes (`NLM_F_ACK_TLVS`).
const FLAG_ACK_TLVS: u16 = 0x200;
/// The state changed while the dump ran (`NLM_F_DUMP_INTR`).
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;
/// Text attribute of an extended acknowledgement.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Which kernel subsystem the socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Route,
    Netfilter,
}

/// Why a netlink exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    #[error("netlink socket: {action}")]
    Socket { action: &'static str, source: Errno },
    /// The kernel refused message `index` of the request.
    #[error("kernel refused netlink message {index}{}", detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Refused {
        index: usize,
        detail: Option<String>,
        source: Errno,
    },
    #[error("netlink answer cannot be read")]
    Decode(#[from] DecodeError),
    #[error("netlink request cannot be written")]
    Encode(#[from] EncodeError),
}

impl NetlinkError {
    /// The kernel's error number, when there is one.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => Some(*source),
            Self::Decode(_) | Self::Encode(_) => None,
        }
    }
}

fn failed(action: &'static str) -> impl FnOnce(Errno) -> NetlinkError {
    move |source| NetlinkError::Socket { action, source }
}

/// A socket for requests, in the network namespace that its opening thread was in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn open(protocol: Protocol) -> Result<Self, NetlinkError> {
        Self::open_in_groups(protocol, 0)
    }

    /// Opens a socket that receives the notifications of `groups` (a bit mask).
    pub(crate) fn subscribe(protocol: Protocol, groups: u32) -> Result<Self, NetlinkError> {
        let socket = Self::open_in_groups(protocol, groups)?;
        // Notifications that overflow are not lost silently (ENOBUFS), but a
        // larger buffer makes the full re-read that follows rare.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket.fd, 4 * 1024 * 1024);
        Ok(socket)
    }

    fn open_in_groups(protocol: Protocol, groups: u32) -> Result<Self, NetlinkError> {
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            number,
        )
        .map_err(failed("open"))?;
        net::bind(&fd, &netlink::SocketAddrNetlink::new(0, groups)).map_err(failed("bind"))?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))
            .map_err(failed("set timeout"))?;
        set_netlink_option(fd.as_fd(), libc::NETLINK_CAP_ACK);
        set_netlink_option(fd.as_fd(), libc::NETLINK_EXT_ACK);
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; RECEIVE_BYTES],
        })
    }

    /// Sends messages that the kernel handles one by one, and waits until
    /// each is acknowledged. One that fails does not stop those after it.
    ///
    /// # Errors
    /// The first refusal.
    pub(crate) fn request(&mut self, messages: Vec<Message>) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let count = messages.len();
        let mut bytes = Vec::new();
        for mut message in messages {
            message.acknowledge();
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend_from_slice(&message.finish(self.sequence)?);
        }
        self.send(&bytes)?;
        let mut waiting = count;
        let mut refusal = None;
        while waiting > 0 {
            self.receive(|frame| {
                let index = frame.sequence.wrapping_sub(first) as usize;
                if frame.kind == MESSAGE_ERROR && index < count {
                    waiting -= 1;
                    if let Err(error) = acknowledgement(frame, index)? {
                        refusal.get_or_insert(error);
                    }
                }
                Ok(())
            })?;
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Sends one netfilter batch (begin, messages, end): all of it takes
    /// effect at once, or nothing.
    ///
    /// # Errors
    /// The first refusal, with the index of the message in `messages`.
    pub(crate) fn transact(
        &mut self,
        begin: Message,
        messages: Vec<Message>,
        end: Message,
    ) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let count = messages.len();
        let mut bytes = begin.finish(first)?;
        let mut sequence = first;
        for (index, mut message) in messages.into_iter().enumerate() {
            // One acknowledgement suffices: refusals come for every message,
            // and all answers are queued when the send returns.
            if index + 1 == count {
                message.acknowledge();
            }
            sequence = sequence.wrapping_add(1);
            bytes.extend_from_slice(&message.finish(sequence)?);
        }
        self.sequence = sequence.wrapping_add(1);
        bytes.extend_from_slice(&end.finish(self.sequence)?);
        self.send(&bytes)?;
        let mut refusal = None;
        let mut finished = false;
        while !finished {
            self.receive(|frame| {
                let offset = frame.sequence.wrapping_sub(first) as usize;
                if frame.kind != MESSAGE_ERROR || offset > count {
                    return Ok(());
                }
                // A failed commit is reported against the batch's beginning,
                // after which nothing else comes.
                finished |= offset == count || offset == 0;
                if let Err(error) = acknowledgement(frame, offset.saturating_sub(1))? {
                    refusal.get_or_insert(error);
                }
                Ok(())
            })?;
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Sends a dump request and gives every answer to `each`.
    ///
    /// # Errors
    /// Also when `each` fails; the rest of the dump is still consumed.
    pub(crate) fn dump(
        &mut self,
        message: Message,
        mut each: impl FnMut(u16, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<Completeness, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.send(&message.finish(sequence)?)?;
        let mut done = false;
        let mut refusal = None;
        let mut complete = Completeness::Whole;
        while !done {
            self.receive(|frame| {
                if frame.sequence != sequence {
                    return Ok(());
                }
                if frame.flags & FLAG_DUMP_INTERRUPTED != 0 {
                    complete = Completeness::Interrupted;
                }
                match frame.kind {
                    MESSAGE_DONE => done = true,
                    MESSAGE_ERROR => {
                        done = true;
                        if let Err(error) = acknowledgement(frame, 0)? {
                            refusal.get_or_insert(error);
                        }
                    }
                    kind => {
                        if let Err(error) = each(kind, frame.payload) {
                            refusal.get_or_insert(error.into());
                        }
                    }
                }
                Ok(())
            })?;
        }
        refusal.map_or(Ok(complete), Err)
    }

    /// Sends a request that has one answer, and gives it to `read`.
    pub(crate) fn get<T>(
        &mut self,
        mut message: Message,
        read: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, NetlinkError> {
        message.acknowledge();
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.send(&message.finish(sequence)?)?;
        let mut answer = None;
        let mut end = None;
        while end.is_none() {
            self.receive(|frame| {
                if frame.sequence == sequence {
                    if frame.kind == MESSAGE_ERROR {
                        end = Some(acknowledgement(frame, 0)?);
                    } else {
                        answer = Some(read(frame.payload)?);
                    }
                }
                Ok(())
            })?;
        }
        end.unwrap_or(Ok(()))?;
        answer.ok_or(NetlinkError::Decode(DecodeError::Short {
            have: 0,
            want: 1,
        }))
    }

    /// The number by which the kernel names this socket in notifications.
    pub(crate) fn port(&self) -> Result<u32, NetlinkError> {
        let address = net::getsockname(&self.fd).map_err(failed("read port of"))?;
        let address =
            netlink::SocketAddrNetlink::try_from(address).map_err(failed("read port of"))?;
        Ok(address.pid())
    }

    /// Reads one datagram of notifications.
    ///
    /// # Errors
    /// `ENOBUFS` when notifications were lost: the caller reads everything anew.
    pub(crate) fn notifications(
        &mut self,
        mut each: impl FnMut(Frame<'_>),
    ) -> Result<(), NetlinkError> {
        self.receive(|frame| {
            each(frame);
            Ok(())
        })
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        // A datagram above the send buffer is refused as a whole; the default
        // (208 KiB) fits about 2,000 set elements.
        if bytes.len() > 100 * 1024 {
            sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len())
                .map_err(failed("enlarge send buffer"))?;
        }
        net::send(&self.fd, bytes, SendFlags::empty()).map_err(failed("send"))?;
        Ok(())
    }

    fn receive(
        &mut self,
        mut each: impl FnMut(Frame<'_>) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let length = loop {
            match net::recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok((_, length)) => break length,
                Err(Errno::INTR) => {}
                Err(source) => return Err(failed("receive")(source)),
            }
        };
        let bytes = self.buffer.get(..length).ok_or(DecodeError::Short {
            have: RECEIVE_BYTES,
            want: length,
        })?;
        for frame in Messages::new(bytes) {
            each(frame?)?;
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a dump saw one consistent state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completeness {
    Whole,
    /// Something changed meanwhile; entries may be missing.
    Interrupted,
}

/// Reads `struct nlmsgerr`; the inner result is what the kernel said.
fn acknowledgement(
    frame: Frame<'_>,
    index: usize,
) -> Result<Result<(), NetlinkError>, DecodeError> {
    let short = DecodeError::Short {
        have: frame.payload.len(),
        want: 4 + HEADER_BYTES,
    };
    let Some((code, request)) = frame.payload.split_first_chunk::<4>() else {
        return Err(short);
    };
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return Ok(Ok(()));
    }
    let mut detail = None;
    if frame.flags & FLAG_ACK_TLVS != 0 {
        let Some(length) = request.first_chunk::<4>() else {
            return Err(short);
        };
        let repeated = if frame.flags & FLAG_CAPPED != 0 {
            HEADER_BYTES
        } else {
            align(u32::from_ne_bytes(*length) as usize)
        };
        let attributes = Attributes::new(request.get(repeated..).unwrap_or_default());
        detail = find(attributes, NLMSGERR_ATTR_MSG)?
            .and_then(read_text)
            .map(str::to_owned);
    }
    Ok(Err(NetlinkError::Refused {
        index,
        detail,
        source: Errno::from_raw_os_error(code.wrapping_neg()),
    }))
}

/// Turns on a boolean netlink option; an old kernel without it only gives
/// poorer error texts.
fn set_netlink_option(fd: BorrowedFd<'_>, option: libc::c_int) {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the whole call, and the value points
    // to a live c_int whose exact size is passed.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}
