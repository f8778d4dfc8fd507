//! The watcher: frees addresses when their links are gone, and puts the
//! tables back when somebody else removes them.

use std::{
    io::Read,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{lock, shared::Shared};
use crate::{
    netlink::{Link, NetlinkError, Socket},
    nft::table_of_event,
};

/// `RTNLGRP_LINK` as a bit.
pub(super) const LINK_GROUP: u32 = 1;

/// The kernel removes the links of a dead namespace within some 50 ms. If one
/// lives longer, something holds the namespace: then its link is cut off.
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);

/// The watcher's sources of news.
pub(super) struct Watcher {
    pub(super) shared: Arc<Shared>,
    pub(super) links: Socket,
    pub(super) rules: Socket,
    /// Number of the socket by which we change rules ourselves.
    pub(super) own_port: u32,
    /// Written to by [`Shared::wake_watcher`].
    pub(super) wake: std::fs::File,
}

impl Watcher {
    /// Body of the watcher thread; returns when the bridge stops.
    pub(super) fn run(mut self) {
        loop {
            let Some((woken, links, rules)) = self.wait() else {
                return;
            };
            if woken {
                let mut count = [0; 8];
                let _ = self.wake.read(&mut count);
            }
            if lock(&self.shared.state).stopping {
                return;
            }
            if links {
                self.read_links();
            }
            if rules {
                self.read_rules();
            }
            self.cut_off();
        }
    }

    /// Waits for news; `None` when waiting is impossible.
    fn wait(&self) -> Option<(bool, bool, bool)> {
        let patience = lock(&self.shared.state)
            .draining()
            .map(|(_, since)| since + DRAIN_PATIENCE)
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = patience.map(|wait| Timespec {
            tv_sec: wait.as_secs().cast_signed(),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let (wake, links, rules) = (self.wake.as_fd(), self.links.as_fd(), self.rules.as_fd());
        let mut fds = [wake, links, rules].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "bridge watcher cannot wait for events"
                );
                return None;
            }
        }
        let [wake, links, rules] = fds.map(|fd| !fd.revents().is_empty());
        Some((wake, links, rules))
    }

    fn read_links(&mut self) {
        let mut gone = Vec::new();
        let result = self.links.notifications(|frame| {
            if frame.kind == libc::RTM_DELLINK
                && let Ok(link) = Link::parse(frame.payload)
            {
                gone.extend(self.shared.cfg.address_of(&link.name));
            }
        });
        let mut state = lock(&self.shared.state);
        for address in gone {
            state.link_gone(address);
        }
        drop(state);
        if let Err(error) = result {
            log_lost(&error);
            self.shared.recount_links();
        }
        self.shared.changed.notify_all();
    }

    fn read_rules(&mut self) {
        let mut foreign = false;
        let table = self.shared.cfg.table.as_str();
        let own = self.own_port;
        let result = self.rules.notifications(|frame| {
            foreign |=
                frame.port != own && table_of_event(frame.kind, frame.payload) == Some(table);
        });
        if let Err(error) = &result {
            log_lost(error);
        }
        if foreign || result.is_err() {
            self.shared.restore_rules();
        }
    }

    fn cut_off(&self) {
        let now = Instant::now();
        let late: Vec<_> = lock(&self.shared.state)
            .draining()
            .filter(|(_, since)| now.duration_since(*since) >= DRAIN_PATIENCE)
            .map(|(address, _)| address)
            .collect();
        if !late.is_empty()
            && let Err(error) = self.shared.delete_links(&late)
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot remove links of finished containers"
            );
        }
    }
}

fn log_lost(error: &NetlinkError) {
    if error.errno() != Some(Errno::NOBUFS) {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "bridge watcher cannot read events"
        );
    }
}
