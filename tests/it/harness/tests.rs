//! Proof that the leak check sees each kind of leak, removes it, and still
//! does so when a test panics.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
};

use super::{Carrack, Site, leaks, output, run, wait_for};

/// Makes one thing leak; expects that it is found as `kind` and removed.
fn check(kind: &str, leak: impl FnOnce(&Site)) {
    let site = Site::new();
    assert_eq!(leaks::find(&site), [""; 0], "before the {kind}");
    leak(&site);
    // A process within execve(2) has no environment for a moment.
    wait_for(kind, || {
        let found = leaks::find(&site);
        found
            .iter()
            .any(|line| line.starts_with(kind))
            .then_some(())
    });
    let (dir, fallen) = (
        site.dir.clone(),
        catch_unwind(AssertUnwindSafe(|| drop(site))),
    );
    let text = fallen.expect_err("the leak fails its test");
    let text = text.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("leaks: "), "{text}");
    assert!(!dir.exists());
}

/// Starts a process that is nobody's child, and waits until it sleeps.
fn orphan(command: &mut Command) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert!(child.wait().unwrap().success());
}

/// The shell leaves its last command behind.
const SLEEPER: &str = "sleep 1000 >/dev/null & echo ready";

#[test]
fn processes_are_found_wherever_they_went() {
    check("process", |site| {
        orphan(
            Command::new("setsid")
                .args(["sh", "-c", SLEEPER])
                .env("IT_INSTANCE", site.data_dir()),
        );
    });
    // Neither mark nor parent, but a mount of the site in a namespace of its own.
    check("process", |site| {
        let place = site.dir.join("place");
        fs::create_dir(&place).unwrap();
        let script = format!("mount -t tmpfs none {}; {SLEEPER}", place.display());
        orphan(Command::new("unshare").args(["-m", "sh", "-c", &script]));
    });
}

#[test]
fn mounts_disks_and_files_are_found() {
    check("mount", |site| {
        let place = site.dir.join("place");
        fs::create_dir(&place).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "none"])
            .arg(place));
    });
    check("loop device", |site| {
        let image = site.dir.join("image");
        run(Command::new("truncate").args(["-s", "1M"]).arg(&image));
        run(Command::new("losetup").arg("-f").arg(&image));
    });
    check("file", |site| {
        fs::write(site.temporary_dir().join("stray"), "").unwrap();
    });
}

#[test]
fn networks_and_cgroups_are_found() {
    check("link", |site| {
        let name = format!("{}v", site.bridge);
        run(Command::new("ip").args(["link", "add", &name, "type", "bridge"]));
    });
    check("nftables", |site| {
        run(Command::new("nft").args(["add", "table", "ip", &site.bridge]));
    });
    check("cgroup", |site| {
        let root = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        let root = root
            .into_iter()
            .find(|root| fs::exists(format!("{root}/cgroup.procs")).unwrap());
        fs::create_dir_all(format!("{}/{}/inner", root.unwrap(), site.cgroup)).unwrap();
    });
    check("network namespace", |site| {
        let name = format!("it-{}", site.bridge);
        run(Command::new("ip").args(["netns", "add", &name]));
        let inside = |words: &[&str]| run(Command::new("ip").args(["-n", &name]).args(words));
        inside(&["link", "add", "eth0", "type", "bridge"]);
        let address = format!("{}2/24", site.subnet_prefix());
        inside(&["addr", "add", &address, "dev", "eth0"]);
    });
    // Held by a process alone, which bears no mark.
    check("network namespace", |site| {
        let script = format!(
            "ip link add eth0 type bridge; ip addr add {}2/24 dev eth0; {SLEEPER}",
            site.subnet_prefix()
        );
        orphan(Command::new("unshare").args(["-n", "sh", "-c", &script]));
    });
}

#[test]
fn a_test_that_panics_is_cleaned_up_after() {
    let mut place = None;
    let fallen = catch_unwind(AssertUnwindSafe(|| {
        let server = Carrack::start();
        place = Some((server.pid(), server.site.dir.clone()));
        panic!("the test's own words");
    }));
    let text = fallen.unwrap_err();
    assert_eq!(text.downcast_ref::<&str>(), Some(&"the test's own words"));
    let (pid, dir) = place.unwrap();
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    assert!(!dir.exists());
}

#[test]
fn a_server_that_does_not_start_is_cleaned_up_after() {
    let site = Site::new();
    let dir = site.dir.clone();
    let fallen = catch_unwind(AssertUnwindSafe(|| {
        Carrack::start_with(site, &["--bridge-subnet", "nonsense"])
    }));
    assert!(fallen.is_err());
    assert!(!dir.exists());
    let left = || output(Command::new("pgrep").arg("-f").arg(&dir));
    wait_for("the end of all of it", || {
        (!left().status.success()).then_some(())
    });
}
