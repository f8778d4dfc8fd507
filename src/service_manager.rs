//! Tells the service manager how the server stands (sd_notify(3)): one
//! datagram per change to the socket that it named. Without one, nothing.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// A change that service managers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Every part serves.
    Ready,
    /// Draining; ends by itself.
    Stopping,
}

impl Change {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1\nSTATUS=serving",
            Self::Stopping => b"STOPPING=1\nSTATUS=letting requests finish",
        }
    }
}

/// Sends a change to the socket `address`: a path, or `@` and an abstract name.
///
/// # Errors
/// When nobody receives there. The server goes on: a manager that waits for
/// the message says so itself.
pub fn tell(address: &OsStr, change: Change) -> io::Result<()> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the server.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(change.text(), &address).map(drop)
}

#[cfg(test)]
#[path = "service_manager/tests.rs"]
mod tests;
