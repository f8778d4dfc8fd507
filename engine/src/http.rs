//! The HTTP face: connections, routing, and one file of handlers per resource.
//!
//! Handlers translate: query and body to a use case, its result to Docker's
//! JSON. Nothing below this module knows HTTP.

mod answer;
mod archive;
mod containers;
mod exec;
mod hijack;
mod images;
mod io;
mod logs;
mod networks;
mod pipe;
mod request;
mod route;
mod serve;
mod stats;
mod system;
mod top;
mod volumes;

pub(crate) use serve::serve;
