//! Counters of the registry, in one registry of their own.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: &'static str,
}

pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<EndpointLabels, Histogram, fn() -> Histogram>,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) uploads_running: Gauge,
    registry: Registry,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // 0.25 ms to 16 s: the answer's head, not the streaming of its body.
        let make: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_25, 4.0, 9));
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(make),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            uploads_running: Gauge::default(),
            registry: Registry::default(),
        };
        let Self {
            requests,
            duration,
            received_bytes,
            sent_bytes,
            uploads_running,
            mut registry,
        } = metrics;
        registry.register(
            "carrack_registry_requests",
            "Requests by endpoint and HTTP status",
            requests.clone(),
        );
        registry.register(
            "carrack_registry_request_duration_seconds",
            "Time until the answer's head, by endpoint",
            duration.clone(),
        );
        registry.register(
            "carrack_registry_received_bytes",
            "Bytes of blobs and manifests received",
            received_bytes.clone(),
        );
        registry.register(
            "carrack_registry_sent_bytes",
            "Bytes of blobs and manifests sent",
            sent_bytes.clone(),
        );
        registry.register(
            "carrack_registry_uploads_running",
            "Requests that are receiving a blob",
            uploads_running.clone(),
        );
        Self {
            requests,
            duration,
            received_bytes,
            sent_bytes,
            uploads_running,
            registry,
        }
    }

    pub(crate) fn record(&self, endpoint: &'static str, status: u16, seconds: f64) {
        self.requests
            .get_or_create(&RequestLabels { endpoint, status })
            .inc();
        self.duration
            .get_or_create(&EndpointLabels { endpoint })
            .observe(seconds);
    }

    /// All metrics as OpenMetrics text.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing into a String does not fail");
        text
    }
}

/// Counts a running upload for as long as it lives.
pub(crate) struct Running(Gauge);

impl Running {
    pub(crate) fn start(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
