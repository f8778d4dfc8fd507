//! A build's events from a point on, until its last one.

use std::collections::VecDeque;

use builder_proto::api::Event;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Builder;
use crate::{db::StoredEvent, solver::error::chain};

/// Events read at once.
const PAGE: i64 = 256;

struct Follower {
    builder: Builder,
    id: String,
    after: i64,
    page: VecDeque<StoredEvent>,
    more: watch::Receiver<()>,
    ended: bool,
    _counted: TaskTrackerToken,
}

/// Events of a build after sequence number `after`: those stored, then those
/// to come. Ends after the event of an ended state, or with the service: the
/// client then comes back to the next one. Since every event is read
/// from the database in order, none is missed or repeated however slow the
/// reader is.
pub(crate) fn events(
    builder: Builder,
    id: String,
    after: i64,
) -> impl Stream<Item = StoredEvent> + Send + 'static {
    let follower = Follower {
        more: builder.live().follow(&id),
        _counted: builder.0.followers.token(),
        builder,
        id,
        after,
        page: VecDeque::new(),
        ended: false,
    };
    stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((event, follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<StoredEvent> {
        while self.page.is_empty() && !self.ended {
            self.more.mark_unchanged();
            // In this order: when the build or the service had ended before the
            // page was read, an empty page is the end.
            let silent = self.builder.0.silent.is_cancelled();
            let ended = match self.builder.row(&self.id).await {
                Ok(row) => silent || row.state.is_ended(),
                Err(_) => true,
            };
            match self
                .builder
                .db()
                .system_events(&self.id, self.after, PAGE)
                .await
            {
                Ok(page) => self.page = page.into(),
                Err(error) => {
                    tracing::error!(
                        build.id = self.id,
                        error = chain(&error),
                        "cannot read events"
                    );
                    self.ended = true;
                }
            }
            if self.page.is_empty() {
                if ended {
                    return None;
                }
                tokio::select! {
                    changed = self.more.changed() => changed.ok()?,
                    () = self.builder.0.silent.cancelled() => {}
                }
            }
        }
        let stored = self.page.pop_front()?;
        self.after = stored.seq;
        if let Event::State { state, .. } = &stored.event {
            self.ended |= state.is_ended();
        }
        Some(stored)
    }
}
