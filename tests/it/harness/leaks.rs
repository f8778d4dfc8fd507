//! What an instance may leave behind and must not: processes, mounts, links,
//! nftables rules, cgroups, network namespaces, loop devices, stray files.
//!
//! Each thing is told to be of an instance by something that is the
//! instance's alone (its directory, variable, cgroup, bridge or subnet), so
//! that others may use the machine meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Site, output};

/// Where an instance would write that forgot its settings.
const DEFAULT_PLACES: [&str; 2] = ["/var/lib/carrack", "/run/carrack"];

/// Networks that an idle engine keeps ready.
const POOLED_MAX: usize = 4;

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .replace('\0', " ")
        .trim()
        .to_owned()
}

pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit(')').next()?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// Children, grandchildren and so on of `pid`.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: BTreeMap<u32, u32> = pids()
        .into_iter()
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        let children = parents.iter().filter(|(_, parent)| **parent == of);
        found.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    found.remove(0);
    found
}

/// Processes that were started for the instance in `data_dir`: every one of
/// them, except those inside containers, has inherited the variable that names
/// it, whoever its parent is by now.
pub fn tree_of(data_dir: &Path) -> Vec<u32> {
    let marker = format!("IT_INSTANCE={}", data_dir.display());
    let marked = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|b| *b == 0)
            .any(|variable| variable == marker.as_bytes())
    };
    pids().into_iter().filter(marked).collect()
}

/// Processes in the instance's cgroups: those inside containers and builds.
pub fn contained(site: &Site) -> Vec<u32> {
    let inside = |pid: &u32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mut parts = groups.split(['/', '\n']);
        parts.any(|part| part == site.cgroup)
    };
    pids().into_iter().filter(inside).collect()
}

/// Everything that belongs to the instance and runs, in or out of containers.
/// A process that got away from both mark and cgroup still has mounts of it.
fn processes(site: &Site) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = tree_of(&site.data_dir()).into_iter().collect();
    found.extend(contained(site));
    let ours = fs::read_link("/proc/self/ns/mnt").ok();
    for pid in pids() {
        let foreign = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() != ours;
        if foreign && !mounts(site, &format!("/proc/{pid}/mountinfo")).is_empty() {
            found.insert(pid);
        }
    }
    found.remove(&std::process::id());
    found
}

/// Lines of a mount table that name the instance's directory.
fn mounts(site: &Site, table: &str) -> Vec<String> {
    // A disk that the test itself mounted is its own to remove.
    let dir = site.dir.to_string_lossy();
    let own_disk = |line: &str| {
        site.disk
            && line.split(' ').nth(4) == site.data_dir().to_str()
            && line.contains("/dev/loop")
    };
    let text = fs::read_to_string(table).unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains(&*dir));
    lines
        .filter(|line| !own_disk(line))
        .map(ToOwned::to_owned)
        .collect()
}

fn cgroup_dirs(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let roots = entries.map(|entry| entry.path());
    roots
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .map(|root| root.join(&site.cgroup))
        .filter(|dir| dir.is_dir())
        .collect()
}

fn links(site: &Site) -> Vec<String> {
    let names = fs::read_dir("/sys/class/net").unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let of_bridge = |name: &String| {
        name.starts_with(&site.bridge)
            || fs::read_link(format!("/sys/class/net/{name}/master"))
                .is_ok_and(|master| master.ends_with(&site.bridge))
    };
    names.filter(of_bridge).collect()
}

/// Lines of anybody's nftables that name the bridge or the subnet.
fn rules(site: &Site) -> Vec<String> {
    let ruleset = output(Command::new("nft").args(["-n", "list", "ruleset"]));
    let ruleset = String::from_utf8_lossy(&ruleset.stdout).into_owned();
    let ours = |line: &&str| {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| word == site.bridge) || line.contains(&site.subnet_prefix())
    };
    let lines = ruleset.lines().filter(ours);
    lines.map(|line| line.trim().to_owned()).collect()
}

/// Network namespaces in which an address of the instance's subnet is, with
/// what holds them: a process, an open descriptor, or something mounted
/// (`ip netns`, or a bind mount in any mount namespace).
fn network_namespaces(site: &Site) -> Vec<(String, String)> {
    let mut handles = BTreeMap::new();
    let mut seen_tables = BTreeSet::new();
    if let Ok(ours) = fs::read_link("/proc/self/ns/net") {
        handles.insert(ours, None);
    }
    for pid in pids() {
        let dir = format!("/proc/{pid}");
        let mut paths = vec![PathBuf::from(format!("{dir}/ns/net"))];
        let open = fs::read_dir(format!("{dir}/fd")).into_iter().flatten();
        paths.extend(open.flatten().map(|entry| entry.path()));
        for path in paths {
            if let Ok(target) = fs::read_link(&path)
                && target.to_string_lossy().starts_with("net:[")
            {
                handles.entry(target).or_insert(Some(path));
            }
        }
        let table = fs::read_link(format!("{dir}/ns/mnt"));
        if !table.is_ok_and(|table| seen_tables.insert(table)) {
            continue;
        }
        let text = fs::read_to_string(format!("{dir}/mountinfo")).unwrap_or_default();
        for line in text.lines().filter(|line| line.contains(" - nsfs ")) {
            let fields: Vec<_> = line.split(' ').collect();
            if fields[3].starts_with("net:[") {
                let path = PathBuf::from(format!("{dir}/root{}", fields[4]));
                handles.entry(fields[3].into()).or_insert(Some(path));
            }
        }
    }
    let of_site = |path: &PathBuf| {
        let net = format!("--net={}", path.display());
        let shown = output(Command::new("nsenter").args([&net, "ip", "-o", "-4", "addr"]));
        String::from_utf8_lossy(&shown.stdout).contains(&site.subnet_prefix())
    };
    handles
        .into_iter()
        .filter_map(|(name, path)| Some((name.display().to_string(), path?)))
        .filter(|(_, path)| of_site(path))
        .map(|(name, path)| (name, path.display().to_string()))
        .collect()
}

/// Loop devices on files of the instance.
fn loop_devices(site: &Site) -> Vec<String> {
    let dir = site.dir.to_string_lossy();
    let blocks = fs::read_dir("/sys/block").unwrap().flatten();
    let on_site = |block: &fs::DirEntry| {
        fs::read_to_string(block.path().join("loop/backing_file"))
            .is_ok_and(|file| file.starts_with(&*dir))
    };
    let blocks = blocks.filter(on_site);
    blocks
        .map(|block| block.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The places of an instance without settings that are there already.
pub fn default_places() -> Vec<&'static str> {
    let places = DEFAULT_PLACES.into_iter();
    places.filter(|place| Path::new(place).exists()).collect()
}

fn stray_files(site: &Site) -> Vec<String> {
    let temporary = fs::read_dir(site.temporary_dir()).into_iter().flatten();
    let mut found: Vec<_> = temporary
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .collect();
    let places = default_places().into_iter();
    found.extend(
        places
            .filter(|place| !site.places_before.contains(place))
            .map(ToOwned::to_owned),
    );
    found
}

/// What containers and builds of a serving instance still hold. Empty as soon
/// as none runs and the server has tidied up after all of them.
pub fn of_containers(site: &Site) -> Vec<String> {
    let mut found: Vec<_> = contained(site)
        .into_iter()
        .map(|pid| format!("process {pid}: {}", command_line(pid)))
        .collect();
    for dir in cgroup_dirs(site) {
        let groups = fs::read_dir(&dir).into_iter().flatten().flatten();
        let groups = groups.filter(|entry| entry.path().is_dir());
        found.extend(groups.map(|group| format!("cgroup {}", group.path().display())));
    }
    // The pool of ready networks, which no container uses, is the engine's.
    let tree = tree_of(&site.data_dir());
    let pooled = |holder: &str| {
        let pid = holder.split('/').nth(2).and_then(|pid| pid.parse().ok());
        holder.contains("/fd/") && pid.is_some_and(|pid| tree.contains(&pid))
    };
    let mut spare = 0;
    for (name, holder) in network_namespaces(site) {
        if pooled(&holder) {
            spare += 1;
        } else {
            found.push(format!("network namespace {name} by {holder}"));
        }
    }
    let ports = links(site).into_iter().filter(|name| *name != site.bridge);
    let ports: Vec<_> = ports.collect();
    if ports.len() != spare || spare > POOLED_MAX {
        found.push(format!("links {ports:?} for {spare} spare networks"));
    }
    let table = mounts(site, "/proc/self/mountinfo").into_iter();
    found.extend(table.map(|line| format!("mount {line}")));
    found
}

/// What is left of an instance that was stopped.
pub fn find(site: &Site) -> Vec<String> {
    let mut leaked = Vec::new();
    for pid in processes(site) {
        let (parent, command) = (parent(pid).unwrap_or(0), command_line(pid));
        leaked.push(format!("process {pid} of {parent}: {command}"));
    }
    for (name, holder) in network_namespaces(site) {
        leaked.push(format!("network namespace {name} by {holder}"));
    }
    let mut add = |what: &str, found: Vec<String>| {
        leaked.extend(found.into_iter().map(|item| format!("{what} {item}")));
    };
    let groups = cgroup_dirs(site).into_iter();
    add(
        "cgroup",
        groups.map(|dir| dir.display().to_string()).collect(),
    );
    add("mount", mounts(site, "/proc/self/mountinfo"));
    add("link", links(site));
    add("nftables", rules(site));
    add("loop device", loop_devices(site));
    add("file", stray_files(site));
    leaked
}

/// Removes what [`find`] reported, so that one failure does not become many.
/// Rules in tables of others stay: the test does not know how to take them out.
pub fn clean(site: &Site) {
    for pid in processes(site) {
        output(Command::new("kill").arg("-KILL").arg(pid.to_string()));
    }
    for dir in cgroup_dirs(site) {
        clean_cgroup(&dir);
    }
    for line in mounts(site, "/proc/self/mountinfo").iter().rev() {
        let point = line.split(' ').nth(4).unwrap_or_default();
        output(Command::new("umount").args(["-l", point]));
    }
    for (_, holder) in network_namespaces(site) {
        let pid = holder.split('/').nth(2).unwrap_or_default();
        if let Some((_, point)) = holder.split_once("/root/") {
            let point = format!("/{point}");
            output(Command::new("umount").args(["-l", &point]));
            if point.starts_with("/run/netns/") {
                let _ = fs::remove_file(point);
            }
        } else if pid != std::process::id().to_string() {
            output(Command::new("kill").args(["-KILL", pid]));
        }
    }
    for name in links(site) {
        output(Command::new("ip").args(["link", "delete", &name]));
    }
    for family in ["ip", "ip6", "inet", "bridge"] {
        output(Command::new("nft").args(["delete", "table", family, &site.bridge]));
    }
    for device in loop_devices(site) {
        let device = format!("/dev/{device}");
        output(Command::new("losetup").args(["-d", &device]));
    }
}

fn clean_cgroup(dir: &Path) {
    for child in fs::read_dir(dir).into_iter().flatten().flatten() {
        if child.path().is_dir() {
            clean_cgroup(&child.path());
        }
    }
    let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines() {
        output(Command::new("kill").args(["-KILL", pid]));
    }
    let _ = fs::remove_dir(dir);
}
