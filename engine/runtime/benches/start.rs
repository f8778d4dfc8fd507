//! How long a container of a static `true` takes, by phase: `cargo bench -p
//! runtime`, as root. Prints the minimum and the median of each phase.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::launcher::Launcher;
use runtime::monitor::{Monitor, MonitorEvent};
use runtime::spec::{ContainerSpec, NetMode, ProcessSpec, Rootfs};

/// Runs before and while measuring: the first ones fill caches.
const WARM_UP: usize = 10;
const RUNS: usize = 100;

const PHASES: [&str; 4] = ["create", "start", "exit", "clean"];

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a tokio runtime").block_on(measure());
}

async fn measure() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = dir.path().join("image");
    std::fs::create_dir_all(image.join("bin")).expect("an image directory");
    std::fs::copy("/bin/busybox", image.join("bin/true")).expect("busybox-static installed");
    std::fs::copy("/bin/busybox", image.join("bin/sleep")).expect("busybox-static installed");
    let launcher = Launcher::start(Path::new(env!("CARGO_BIN_EXE_runtime-test-launcher"))).await;
    let launcher = launcher.expect("root");

    for (name, net) in [
        ("own network", NetMode::Private),
        ("host network", NetMode::Host),
    ] {
        let mut samples = Vec::new();
        for n in 0..WARM_UP + RUNS {
            let mut spec = spec(dir.path(), &image, n, &["/bin/true"]);
            spec.namespaces.net = net;
            let begun = Instant::now();
            let monitor = launcher.create(&spec, None).await.expect("a container");
            samples.push(run(monitor, begun).await);
        }
        report(name, &samples[WARM_UP..]);
    }

    let spec = spec(dir.path(), &image, 0, &["/bin/sleep", "1000"]);
    let container = launcher.create(&spec, None).await.expect("a container");
    container.start().await.expect("started");
    let process = ProcessSpec::new(vec!["/bin/true".to_owned()]);
    let mut samples = Vec::new();
    for n in 0..WARM_UP + RUNS {
        let begun = Instant::now();
        let monitor = launcher
            .exec(&spec.state_dir, &n.to_string(), &process)
            .await;
        samples.push(run(monitor.expect("an exec"), begun).await);
    }
    report("exec", &samples[WARM_UP..]);
    memory(&container);
    container.writer().signal(9).await.expect("signalled");
    let (mut reader, _writer) = container.split();
    while reader.next().await.is_some() {}
    runtime::cgroup::remove("carrack-bench").expect("an empty group");
}

async fn run(monitor: Monitor, begun: Instant) -> [Duration; PHASES.len()] {
    let created = begun.elapsed();
    monitor.start().await.expect("started");
    let started = begun.elapsed();
    let (mut reader, _writer) = monitor.split();
    while !matches!(reader.next().await, Some(MonitorEvent::Exited(_))) {}
    let exited = begun.elapsed();
    while reader.next().await.is_some() {}
    let clean = begun.elapsed();
    [created, started - created, exited - started, clean - exited]
}

fn spec(dir: &Path, image: &Path, n: usize, args: &[&str]) -> ContainerSpec {
    let base: PathBuf = dir.join(n.to_string());
    for part in ["state", "upper", "work"] {
        std::fs::create_dir_all(base.join(part)).expect("directories");
    }
    let rootfs = Rootfs {
        lower: vec![image.to_owned()],
        upper: base.join("upper"),
        work: base.join("work"),
        volatile: false,
    };
    let process = ProcessSpec::new(args.iter().map(|a| (*a).to_owned()).collect());
    let mut spec = ContainerSpec::new(&n.to_string(), base.join("state"), rootfs, process);
    spec.cgroup.path = format!("carrack-bench/{n}");
    spec
}

fn report(name: &str, samples: &[[Duration; PHASES.len()]]) {
    let line = |label: &str, mut values: Vec<Duration>| {
        values.sort();
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        println!(
            "{name:13} {label:7} min {:6.2} ms  p50 {:6.2} ms",
            ms(values[0]),
            ms(values[values.len() / 2])
        );
    };
    for (phase, label) in PHASES.iter().enumerate() {
        line(label, samples.iter().map(|s| s[phase]).collect());
    }
    line(
        "to exit",
        samples.iter().map(|s| s[..3].iter().sum()).collect(),
    );
}

/// Resident memory of the container's monitor.
fn memory(container: &Monitor) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid()));
    let status = status.unwrap_or_default();
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:\t"))
        .unwrap_or_default();
    let rollup = std::fs::read_to_string(format!("/proc/{parent}/smaps_rollup"));
    for line in rollup.unwrap_or_default().lines() {
        if ["Rss:", "Pss:", "Pss_Anon:", "Private_Dirty:"]
            .iter()
            .any(|k| line.starts_with(k))
        {
            println!("monitor       {line}");
        }
    }
}
