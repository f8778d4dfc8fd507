//! The engine as the stock docker client sees it. Needs root, docker's client
//! and busybox-static.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod containers;
mod copies;
mod daemon;
mod death;
mod events;
mod images;
mod logs;
mod networks;
mod registry;
mod requests;
mod streams;
mod volumes;
