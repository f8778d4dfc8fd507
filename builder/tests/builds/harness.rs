//! A build service of its own for each test, and the proof that nothing of a
//! build is left when it ends.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::Response,
};
use builder::{Builder, BuilderConfig};
use builder_proto::api::{Build, BuildState, ErrorBody, Event, StepStatus};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use oci::layer::{Entry, EntryKind, TarWriter};
use runtime::{bridge::Bridge, host::Host, launcher::Launcher, snapshot::LayerStore};
use tower::ServiceExt;

/// A cgroup of its own for the steps of each test.
fn cgroup_parent() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("builder-tests-{}-{number}", std::process::id())
}

pub(crate) struct Bench {
    pub(crate) builder: Builder,
    pub(crate) layers: LayerStore,
    host: Host,
    cgroup_parent: String,
    cache_bytes_max: Option<u64>,
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(None).await
    }

    /// With a bound on the cache from now on.
    pub(crate) async fn bound_cache(&mut self, bytes: u64) {
        self.cache_bytes_max = Some(bytes);
        self.restart().await;
    }

    pub(crate) async fn with(bridge: Option<Arc<Bridge>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layers = LayerStore::open(&dir.path().join("layers")).unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_builder-test-launcher"));
        let host = Host {
            layers: layers.clone(),
            launcher: Launcher::start(binary).await.unwrap(),
            bridge,
        };
        let cgroup_parent = cgroup_parent();
        let builder = open(dir.path(), &host, &cgroup_parent, None).await;
        Self {
            builder,
            layers,
            host,
            cgroup_parent,
            cache_bytes_max: None,
            dir,
        }
    }

    /// Ends the service as a process that goes down does, and starts another
    /// on the same directory.
    pub(crate) async fn restart(&mut self) {
        self.builder.shutdown(Duration::ZERO).await;
        let max = self.cache_bytes_max;
        self.builder = open(self.dir.path(), &self.host, &self.cgroup_parent, max).await;
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn router(&self) -> Router {
        self.builder.router()
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> Response {
        self.router().oneshot(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        text(self.request(request).await).await
    }

    /// Sends a context; the build that was queued.
    pub(crate) async fn submit(&self, query: &str, context: Context) -> Build {
        let (status, body) = self.post(query, context.tar()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) async fn post(&self, query: &str, body: Vec<u8>) -> (StatusCode, String) {
        let request = Request::post(format!("/api/v1/builds?{query}"))
            .body(Body::from(body))
            .unwrap();
        text(self.request(request).await).await
    }

    pub(crate) async fn cancel(&self, id: &str) -> Build {
        let request = Request::post(format!("/api/v1/builds/{id}/cancel"))
            .body(Body::empty())
            .unwrap();
        let (status, body) = text(self.request(request).await).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) async fn show(&self, id: &str) -> Build {
        let (status, body) = self.get(&format!("/api/v1/builds/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Builds to the end.
    pub(crate) async fn build(&self, context: Context) -> Outcome {
        self.build_with("", context).await
    }

    pub(crate) async fn build_with(&self, query: &str, context: Context) -> Outcome {
        let build = self.submit(query, context).await;
        self.wait(&build.id).await
    }

    /// Follows a build to its end.
    pub(crate) async fn wait(&self, id: &str) -> Outcome {
        let events = self.events(id, None, |_| false).await;
        Outcome {
            build: self.show(id).await,
            log: self.get(&format!("/api/v1/builds/{id}/log")).await.1,
            events,
        }
    }

    /// Follows a build's events until `enough`, or until they end.
    pub(crate) async fn events(
        &self,
        id: &str,
        after: Option<i64>,
        enough: impl Fn(&Event) -> bool,
    ) -> Vec<(i64, Event)> {
        let mut request = Request::get(format!("/api/v1/builds/{id}/events"));
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let response = self.request(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body().into_data_stream();
        let mut pending = String::new();
        let mut events = Vec::new();
        while let Some(piece) = body.next().await {
            pending.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            while let Some((event, rest)) = pending.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
                };
                if let (Some(id), Some(data)) = (field("id"), field("data")) {
                    events.push((id.parse().unwrap(), serde_json::from_str(data).unwrap()));
                }
                pending = rest.to_owned();
                if events.last().is_some_and(|(_, event)| enough(event)) {
                    return events;
                }
            }
        }
        events
    }

    /// Fails when something of any build is left on the host.
    pub(crate) async fn check_nothing_left(&self) {
        let data = self.path().join("builder");
        // A context goes a moment after the end of its build is told.
        let contexts = data.join("contexts");
        let gone = async {
            while !names(&contexts).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), gone).await;
        assert!(waited.is_ok(), "contexts: {:?}", names(&contexts));
        assert_eq!(names(&data.join("run")), [""; 0], "sandboxes");
        assert_eq!(self.layers.list().unwrap(), [""; 0], "snapshots");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.path().display().to_string();
        assert!(!mounts.contains(&ours), "{mounts}");
        assert_eq!(cgroups(&self.cgroup_parent), BTreeSet::new(), "cgroups");
        let partial = names(&data.join("blobs"));
        assert!(
            !partial.iter().any(|name| name.ends_with(".part")),
            "{partial:?}"
        );
    }
}

async fn open(
    dir: &Path,
    host: &Host,
    cgroup_parent: &str,
    cache_bytes_max: Option<u64>,
) -> Builder {
    let mut config = BuilderConfig::new(dir.join("builder"));
    config.cgroup_parent = cgroup_parent.to_owned();
    config.cache_bytes_max = cache_bytes_max;
    Builder::open(config, host.clone()).await.unwrap()
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

impl Drop for Bench {
    fn drop(&mut self) {
        for root in hierarchies() {
            let _absent = fs::remove_dir(format!("{root}/{}", self.cgroup_parent));
        }
    }
}

/// Where cgroup hierarchies are mounted, of either version.
fn hierarchies() -> Vec<String> {
    let below = names(Path::new("/sys/fs/cgroup"));
    let mut roots = vec!["/sys/fs/cgroup".to_owned()];
    roots.extend(below.iter().map(|name| format!("/sys/fs/cgroup/{name}")));
    roots
}

/// Cgroups of steps in any hierarchy.
fn cgroups(parent: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in hierarchies() {
        let Ok(entries) = fs::read_dir(format!("{root}/{parent}")) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                found.insert(entry.path().display().to_string());
            }
        }
    }
    found
}

pub(crate) async fn text(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

pub(crate) fn error_code(body: &str) -> String {
    serde_json::from_str::<ErrorBody>(body).unwrap().error.code
}

/// How a build ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) build: Build,
    pub(crate) events: Vec<(i64, Event)>,
    pub(crate) log: String,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.build.state, BuildState::Succeeded, "{}", self.log);
        self
    }

    /// The message of a build that failed.
    #[track_caller]
    pub(crate) fn failure(&self) -> &str {
        assert_eq!(self.build.state, BuildState::Failed, "{}", self.log);
        &self.build.error.as_ref().unwrap().message
    }

    /// Names of steps that came to this status.
    pub(crate) fn steps(&self, wanted: StepStatus) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Step { name, status, .. } if *status == wanted => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Whether an instruction's step came from the cache.
    pub(crate) fn cached(&self, instruction: &str) -> bool {
        let cached = self.steps(StepStatus::Cached);
        cached.iter().any(|name| name.contains(instruction))
    }
}

/// A build context, entry by entry.
#[derive(Clone, Default)]
pub(crate) struct Context(Vec<(Entry, Vec<u8>)>);

impl Context {
    /// Busybox with its applets, and a Dockerfile that starts from it.
    pub(crate) fn busybox(dockerfile: &str) -> Self {
        let busybox = fs::read("/bin/busybox").unwrap();
        let start = "FROM scratch AS base\nCOPY --chmod=755 busybox /bin/busybox\n\
                     RUN --network=none [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
        Self::default()
            .file("busybox", &busybox)
            .file("Dockerfile", format!("{start}{dockerfile}").as_bytes())
    }

    /// Lines of [`Context::busybox`]'s Dockerfile before the caller's own.
    pub(crate) const LINES: u32 = 3;

    pub(crate) fn file(mut self, path: &str, content: &[u8]) -> Self {
        let mut entry = Entry::new(path, EntryKind::Regular, 0o644);
        entry.size_bytes = content.len() as u64;
        entry.uid = 1234;
        entry.gid = 1234;
        self.0.push((entry, content.to_vec()));
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.0.last_mut().unwrap().0.mode = mode;
        self
    }

    pub(crate) fn dir(mut self, path: &str) -> Self {
        let entry = Entry::new(path, EntryKind::Directory, 0o755);
        self.0.push((entry, Vec::new()));
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        let kind = EntryKind::Symlink(target.into());
        self.0.push((Entry::new(path, kind, 0o777), Vec::new()));
        self
    }

    pub(crate) fn hard_link(mut self, path: &str, target: &str) -> Self {
        let kind = EntryKind::HardLink(target.into());
        self.0.push((Entry::new(path, kind, 0o644), Vec::new()));
        self
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        for (entry, content) in &self.0 {
            writer.append(entry, &mut content.as_slice()).unwrap();
        }
        writer.finish().unwrap()
    }
}
