//! The monitor's event loop.
//!
//! One thread, one epoll set, no timer: it sleeps until the container writes
//! or ends, or a daemon says something. It owns the container's streams, its
//! pidfd and its connections.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::WaitOptions;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::connection::Connection;
use super::frame::{self, Kind};
use super::log::{Log, Stream};
use super::stdio::Streams;
use super::{ExitStatus, Greeting, SOCKET};
use crate::cgroup::Cgroup;
use crate::init::sync::{self, Report};
use crate::launcher::{Failure, FailureKind};
use crate::sys::process::Child;

/// The process that is looked after, and what came with it.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) child: Child,
    pub(crate) sync: OwnedFd,
    pub(crate) streams: Streams,
    pub(crate) warnings: Vec<String>,
    pub(crate) owner: Owner,
}

/// What must go when the process is gone.
#[derive(Debug)]
pub(crate) enum Owner {
    Container {
        id: String,
        cgroup: Cgroup,
        path: String,
    },
    /// Its directory is removed once a daemon has heard of the exit.
    Exec { parent: OwnedFd, name: String },
}

/// What a container's monitor tells the monitor of an exec.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) pid: u32,
    pub(crate) cgroup: String,
    /// Empty from the monitors of older versions.
    #[serde(default)]
    pub(crate) id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The process waits before its program.
    Created,
    /// Released; it has neither executed nor failed yet.
    Starting,
    /// It could not execute its program and is about to end.
    Failed,
    Running,
}

#[derive(Debug)]
pub(crate) struct Monitoring {
    guest: Guest,
    dir: OwnedFd,
    listener: UnixListener,
    log: Log,
    children: OwnedFd,
    epoll: OwnedFd,
    /// Current interest by token; absent is not watched.
    watched: BTreeMap<u64, EventFlags>,
    connections: BTreeMap<u64, Connection>,
    next_token: u64,
    phase: Phase,
    buffer: Vec<u8>,
}

/// Code of a process that the monitor itself had to kill.
const KILLED: i32 = 137;

const CHILDREN: u64 = 0;
const SYNC: u64 = 1;
const LISTENER: u64 = 2;
const INPUT: u64 = 3;
/// And standard error after it.
const OUTPUT: u64 = 4;
const FIRST_CONNECTION: u64 = 16;

impl Monitoring {
    pub(crate) fn new(
        guest: Guest,
        dir: OwnedFd,
        listener: UnixListener,
        log: Log,
        children: OwnedFd,
    ) -> io::Result<Monitoring> {
        Ok(Monitoring {
            guest,
            dir,
            listener,
            log,
            children,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            watched: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_token: FIRST_CONNECTION,
            phase: Phase::Created,
            buffer: Vec::new(),
        })
    }

    /// Serves until the process is gone and all is cleaned up.
    pub(crate) fn serve(mut self, connection: UnixStream) {
        self.accept(connection);
        let status = self.run().unwrap_or_else(|_| {
            // Without an event loop the container cannot be looked after.
            let _ = rustix::process::pidfd_send_signal(
                &self.guest.child.pidfd,
                rustix::process::Signal::KILL,
            );
            let killed = ExitStatus::failed(KILLED);
            self.wait(WaitOptions::empty()).unwrap_or(killed)
        });
        self.finish(status);
    }

    fn run(&mut self) -> io::Result<ExitStatus> {
        loop {
            self.update_interest()?;
            let mut events = Vec::with_capacity(32);
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            let mut child_ended = false;
            for event in &events {
                let token = event.data.u64();
                let flags = event.flags;
                match token {
                    CHILDREN => child_ended = true,
                    SYNC => self.hear_from_child(),
                    LISTENER => self.accept_all(),
                    INPUT => self.write_input(),
                    OUTPUT => self.read_output(Stream::Stdout),
                    n if n == OUTPUT + 1 => self.read_output(Stream::Stderr),
                    connection => self.serve_connection(connection, flags),
                }
            }
            self.log.flush();
            self.flush_connections();
            if child_ended && let Some(status) = self.reap() {
                return Ok(status);
            }
            if self.phase == Phase::Created && !self.connections.values().any(|c| c.readable) {
                // Nobody is left who could start it.
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    }

    /// Tells epoll what each descriptor is wanted for now. Descriptors without
    /// interest leave the set: a hang-up would be reported all the same.
    fn update_interest(&mut self) -> io::Result<()> {
        let stalled = self.connections.values().any(Connection::is_stalled);
        let running = self.phase == Phase::Running;
        let read = |wanted: bool| {
            if wanted {
                EventFlags::IN
            } else {
                EventFlags::empty()
            }
        };
        let write = |wanted: bool| {
            if wanted {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            }
        };
        let outputs = &self.guest.streams.outputs;
        let mut wanted: Vec<(u64, BorrowedFd<'_>, EventFlags)> = vec![
            (CHILDREN, self.children.as_fd(), EventFlags::IN),
            (
                SYNC,
                self.guest.sync.as_fd(),
                read(self.phase == Phase::Starting),
            ),
            (LISTENER, self.listener.as_fd(), EventFlags::IN),
        ];
        if let Some(sink) = &self.guest.streams.input.sink {
            let flags = write(self.guest.streams.input.has_waiting());
            wanted.push((INPUT, sink.as_fd(), flags));
        }
        for (token, source) in (OUTPUT..).zip(outputs) {
            if let Some(source) = source {
                wanted.push((token, source.as_fd(), read(running && !stalled)));
            }
        }
        for (&token, connection) in &self.connections {
            // Always watched: a hang-up is how a daemon's death is noticed.
            let flags = read(connection.readable) | write(connection.has_unsent());
            wanted.push((token, connection.stream.as_fd(), flags | EventFlags::HUP));
        }
        for (token, fd, flags) in wanted {
            let current = self.watched.get(&token).copied();
            match (current, flags.is_empty()) {
                (None, true) => {}
                (None, false) => {
                    epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?;
                    self.watched.insert(token, flags);
                }
                (Some(_), true) => {
                    epoll::delete(&self.epoll, fd)?;
                    self.watched.remove(&token);
                }
                (Some(current), false) if current == flags => {}
                (Some(_), false) => {
                    epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)?;
                    self.watched.insert(token, flags);
                }
            }
        }
        Ok(())
    }

    /// Takes a descriptor that is about to close out of the epoll set: other
    /// processes may hold it open, and it would then keep reporting.
    fn unwatch(&mut self, token: u64, fd: &impl AsFd) {
        if self.watched.remove(&token).is_some() {
            let _ = epoll::delete(&self.epoll, fd);
        }
    }

    fn accept_all(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.accept(stream);
        }
    }

    fn accept(&mut self, stream: UnixStream) {
        let Ok(mut connection) = Connection::new(stream) else {
            return;
        };
        let greeting = Greeting {
            pid: self.guest.child.pid.as_raw_pid().unsigned_abs(),
            warnings: self.guest.warnings.clone(),
        };
        let greeting = serde_json::to_vec(&greeting).expect("a greeting serialises");
        connection.push(Kind::Created, &greeting);
        if connection.flush().is_ok() {
            self.connections.insert(self.next_token, connection);
            self.next_token += 1;
        }
    }

    fn serve_connection(&mut self, token: u64, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let mut gone = false;
        if flags.contains(EventFlags::IN) && connection.readable {
            match connection.receive() {
                Ok(frames) => {
                    for (kind, payload) in frames {
                        self.obey(token, kind, &payload);
                    }
                }
                Err(_) => gone = true,
            }
        }
        gone |= flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if gone {
            self.hang_up(token);
        }
    }

    fn hang_up(&mut self, token: u64) {
        if let Some(connection) = self.connections.remove(&token) {
            self.unwatch(token, &connection.stream);
        }
    }

    fn flush_connections(&mut self) {
        let dead: Vec<u64> = self
            .connections
            .iter_mut()
            .filter_map(|(&token, connection)| connection.flush().err().map(|_| token))
            .collect();
        dead.into_iter().for_each(|token| self.hang_up(token));
    }

    fn obey(&mut self, token: u64, kind: Kind, payload: &[u8]) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        match kind {
            Kind::Start if self.phase == Phase::Created => {
                self.phase = Phase::Starting;
                // A process that died meanwhile is noticed as a child.
                let _ = sync::release(self.guest.sync.as_fd());
            }
            Kind::Start if self.phase == Phase::Running => connection.push(Kind::Started, &[]),
            Kind::Stdin => {
                self.guest.streams.input.push(token, payload);
                self.write_input();
            }
            Kind::CloseStdin => {
                self.guest.streams.close_input();
                self.write_input();
            }
            Kind::Resize => {
                if let &[a, b, c, d] = payload {
                    let (columns, rows) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                    self.guest.streams.resize(columns, rows);
                }
            }
            Kind::Signal => {
                if let Some(&bytes) = payload.first_chunk() {
                    self.signal(i32::from_le_bytes(bytes));
                }
            }
            Kind::Mute => connection.subscribed = false,
            Kind::Join => {
                connection.subscribed = false;
                if self.answer_join(token).is_err() {
                    self.hang_up(token);
                }
            }
            // The rest is what monitors send, or comes once at the start.
            _ => {}
        }
    }

    fn signal(&self, number: i32) {
        // Real-time signals included; the process may be gone.
        if let Some(signal) = crate::sys::signal::from_number(number) {
            let _ = rustix::process::pidfd_send_signal(&self.guest.child.pidfd, signal);
        }
        if let (libc::SIGKILL, Owner::Container { cgroup, .. }) = (number, &self.guest.owner) {
            cgroup.let_die();
        }
    }

    /// Gives the monitor of an exec what it needs to enter the container.
    fn answer_join(&mut self, token: u64) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else {
            return Ok(());
        };
        let (Owner::Container { id, path, .. }, Phase::Running) = (&self.guest.owner, self.phase)
        else {
            let failure = Failure::new(FailureKind::NotRunning, "the container is not running");
            connection.push(Kind::Failed, &failure.to_json());
            return Ok(());
        };
        let joined = Joined {
            pid: self.guest.child.pid.as_raw_pid().unsigned_abs(),
            cgroup: path.clone(),
            id: id.clone(),
        };
        let mut out = Vec::new();
        frame::push(&mut out, Kind::Joined, &serde_json::to_vec(&joined)?);
        // What is queued must not end up behind the descriptor.
        connection.flush()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [self.guest.child.pidfd.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let data = [io::IoSlice::new(&out)];
        sendmsg(
            &connection.stream,
            &data,
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// A failure of the start, or silence because the program runs.
    fn hear_from_child(&mut self) {
        match sync::receive(self.guest.sync.as_fd()) {
            Ok(Some((Report::Failed(failure), _))) => {
                self.phase = Phase::Failed;
                self.broadcast(Kind::Failed, &failure.to_json());
            }
            Ok(Some((Report::Ready { .. } | Report::Entered, _))) | Err(_) => {}
            Ok(None) => {
                self.phase = Phase::Running;
                self.broadcast(Kind::Started, &[]);
            }
        }
    }

    fn write_input(&mut self) {
        let had = self.guest.streams.input.sink.as_ref().map(AsFd::as_fd);
        let had = had.and_then(|fd| fd.try_clone_to_owned().ok());
        let granted = self.guest.streams.input.write();
        if let (Some(old), true) = (had, self.guest.streams.input.sink.is_none()) {
            self.unwatch(INPUT, &old);
        }
        for (token, bytes) in granted {
            if let Some(connection) = self.connections.get_mut(&token) {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                connection.push(Kind::Credit, &bytes.to_le_bytes());
            }
        }
    }

    fn read_output(&mut self, stream: Stream) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let ended = match self.guest.streams.read(stream, &mut buffer) {
            Ok(0) => true,
            Ok(_) => {
                self.pass_on(stream, &buffer);
                false
            }
            Err(Errno::AGAIN) => false,
            Err(_) => true,
        };
        self.buffer = buffer;
        if ended && let Some(source) = self.guest.streams.outputs[stream as usize].take() {
            self.unwatch(OUTPUT + stream as u64, &source);
        }
    }

    fn pass_on(&mut self, stream: Stream, data: &[u8]) {
        self.log.write(stream, data, OffsetDateTime::now_utc());
        let kind = match stream {
            Stream::Stdout => Kind::Stdout,
            Stream::Stderr => Kind::Stderr,
        };
        for connection in self.connections.values_mut().filter(|c| c.subscribed) {
            connection.push(kind, data);
        }
    }

    fn broadcast(&mut self, kind: Kind, payload: &[u8]) {
        self.connections
            .values_mut()
            .for_each(|c| c.push(kind, payload));
    }

    /// Reaps whatever has ended: the process itself and, with the host's pid
    /// namespace, orphans of the container.
    fn reap(&mut self) -> Option<ExitStatus> {
        let mut drained = [0; 128];
        while rustix::io::read(&self.children, &mut drained).is_ok() {}
        self.wait(WaitOptions::NOHANG)
    }

    fn wait(&self, options: WaitOptions) -> Option<ExitStatus> {
        loop {
            match rustix::process::wait(options) {
                Ok(Some((pid, status))) if pid == self.guest.child.pid => {
                    return Some(ExitStatus::from_wait(status, self.oom_killed()));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    fn oom_killed(&self) -> bool {
        match &self.guest.owner {
            Owner::Container { cgroup, .. } => cgroup.oom_kills() > 0,
            Owner::Exec { .. } => false,
        }
    }

    /// The process is gone: its remains, its last words, its status.
    fn finish(mut self, status: ExitStatus) {
        if self.phase == Phase::Starting {
            self.hear_from_child();
        }
        if let Owner::Container { cgroup, .. } = &self.guest.owner {
            // Best effort here and below: every step is tried.
            let _ = cgroup.kill_all();
        }
        while rustix::process::wait(WaitOptions::NOHANG).is_ok_and(|pid| pid.is_some()) {}
        self.drain_outputs();
        self.log.finish(OffsetDateTime::now_utc());
        let _ = status.write(&self.dir);
        if let Owner::Container { cgroup, .. } = &self.guest.owner {
            let _ = cgroup.remove();
        }
        let _ = rustix::fs::unlinkat(&self.dir, SOCKET, AtFlags::empty());
        // Whoever came before the socket went is told; who comes later reads
        // the status. From here on a successor may use the same directory and
        // cgroup, so nothing of them may be touched.
        self.accept_all();
        self.broadcast(Kind::Exited, &status.to_json());
        self.flush_connections();
        let told = self.tell_all();
        if let (Owner::Exec { parent, name }, true) = (&self.guest.owner, told) {
            let _ = rustix::fs::unlinkat(&self.dir, "exit.json", AtFlags::empty());
            let _ = rustix::fs::unlinkat(parent, name.as_str(), AtFlags::REMOVEDIR);
        }
    }

    /// What the streams held when the process ended. Others may go on writing
    /// (an exec's children), so this is bounded by what is there now.
    fn drain_outputs(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut left = self.guest.streams.available(stream);
            let mut buffer = std::mem::take(&mut self.buffer);
            while left > 0 {
                match self.guest.streams.read(stream, &mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => left = left.saturating_sub(n),
                }
                self.pass_on(stream, &buffer);
            }
            self.buffer = buffer;
        }
    }

    /// Waits until every daemon that is still connected has everything.
    /// Whether at least one has. Connections stay open: their end says that
    /// this process is done.
    fn tell_all(&mut self) -> bool {
        while let Some(waiting) = self.connections.values().find(|c| c.has_unsent()) {
            let mut fds = [PollFd::new(&waiting.stream, PollFlags::OUT)];
            let _ = poll(&mut fds, None);
            self.flush_connections();
        }
        !self.connections.is_empty()
    }
}
