//! Images: names, configurations, pull and push. Layers live in the shared
//! layer store; an image's rows name them.

pub(crate) mod archive;
pub(crate) mod inspect;
mod kept;
pub(crate) mod list;
pub(crate) mod orphans;
pub(crate) mod progress;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod store;
