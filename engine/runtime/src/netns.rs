//! Making network namespaces.
//!
//! A [`Workshop`] belongs to one thread that is used for nothing else: it
//! enters each namespace it makes and returns. A namespace lives as long as
//! its descriptor or a process in it, so a crash of the daemon removes those
//! that no container uses, together with their links.
#![expect(unsafe_code, reason = "unshare(2) is unsafe in rustix")]

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use crate::netlink::{NetlinkError, Route};

/// Index of the loopback link: the first that a namespace gets (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Why a namespace could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetnsError {
    #[error("{action} network namespace")]
    Namespace { action: &'static str, source: Errno },
    #[error("open the network namespace of a thread: is /proc mounted?")]
    Proc(#[source] std::io::Error),
    #[error("write {path}")]
    Sysctl {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// A thread's means to make namespaces. Neither `Send` nor `Sync`.
#[derive(Debug)]
pub(crate) struct Workshop {
    home: OwnedFd,
    /// Raw pointers are bound to their thread; so is this.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Workshop {
    /// Remembers the calling thread's namespace as the one to return to.
    pub(crate) fn open() -> Result<Self, NetnsError> {
        Ok(Self {
            home: current()?,
            _thread: std::marker::PhantomData,
        })
    }

    /// Makes a namespace with loopback up and IPv6 off for links to come
    /// (CVE-2020-13401: a container on an IPv4 bridge must not accept router
    /// advertisements), then runs `furnish` inside it.
    ///
    /// # Errors
    /// Of the steps, or of `furnish`; the namespace is then gone.
    ///
    /// # Panics
    /// When the thread cannot return home: it must not go on elsewhere.
    pub(crate) fn make<T, E: From<NetnsError>>(
        &self,
        furnish: impl FnOnce(&OwnedFd, &mut Route) -> Result<T, E>,
    ) -> Result<(OwnedFd, T), E> {
        // SAFETY: the file table is not unshared, so descriptors stay valid in
        // all threads; only this thread changes its network namespace.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|source| {
            NetnsError::Namespace {
                action: "make a",
                source,
            }
        })?;
        let made = Self::furnish(furnish);
        move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("the thread came from that namespace and has not lost its privilege");
        made
    }

    fn furnish<T, E: From<NetnsError>>(
        furnish: impl FnOnce(&OwnedFd, &mut Route) -> Result<T, E>,
    ) -> Result<(OwnedFd, T), E> {
        let netns = current()?;
        let mut inside = Route::open().map_err(NetnsError::from)?;
        inside.set_up(LOOPBACK).map_err(NetnsError::from)?;
        // A kernel without IPv6 has nothing to turn off.
        let path = "net/ipv6/conf/default/disable_ipv6";
        match write_sysctl(path, "1") {
            Err(NetnsError::Sysctl { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
        let value = furnish(&netns, &mut inside)?;
        Ok((netns, value))
    }
}

/// Writes a kernel parameter of the calling thread's network namespace.
pub(crate) fn write_sysctl(path: &str, value: &str) -> Result<(), NetnsError> {
    let path = format!("/proc/sys/{path}");
    fs::write(&path, value).map_err(|source| NetnsError::Sysctl { path, source })
}

/// Reads a kernel parameter of the calling thread's network namespace.
pub(crate) fn read_sysctl(path: &str) -> Result<String, NetnsError> {
    let path = format!("/proc/sys/{path}");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(NetnsError::Sysctl { path, source }),
    }
}

fn current() -> Result<OwnedFd, NetnsError> {
    let file = fs::File::open("/proc/thread-self/ns/net").map_err(NetnsError::Proc)?;
    Ok(file.into())
}
