//! What an instance may leave behind and must not: processes, mounts, links,
//! nftables tables, cgroups.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Carrack, Site, output};

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

fn parents() -> BTreeMap<u32, u32> {
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')')
            .next()?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    pids()
        .into_iter()
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect()
}

/// Children, grandchildren and so on of `pid`.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| **parent == of)
                .map(|(child, _)| *child),
        );
        at += 1;
    }
    found.remove(0);
    found
}

/// Processes that were started for the instance in `dir`: every one of them,
/// except those inside containers, has inherited the variable that names it.
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

fn cgroup_dirs(site: &Site) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let roots = fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    for root in roots.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let dir = root.join(&site.cgroup);
        if dir.is_dir() {
            found.push(dir);
        }
    }
    found
}

fn links(site: &Site) -> Vec<String> {
    let names = fs::read_dir("/sys/class/net").unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let bridge = format!("/sys/class/net/{}", site.bridge);
    let of_bridge = |name: &String| {
        *name == site.bridge
            || name.starts_with(&site.bridge)
            || fs::read_link(format!("/sys/class/net/{name}/master"))
                .is_ok_and(|master| master.ends_with(&bridge) || master.ends_with(&site.bridge))
    };
    names.filter(of_bridge).collect()
}

/// Removes every container of an instance that still answers.
pub fn remove_containers(server: &Carrack) {
    if !server.site.engine_socket().exists() {
        return;
    }
    let listed = output(&mut server.docker(&["ps", "-aq"]));
    let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
    let ids: Vec<_> = ids.split_whitespace().collect();
    if !ids.is_empty() {
        output(server.docker(&["rm", "-f", "-v"]).args(ids));
    }
}

/// What is left of an instance that was stopped.
pub fn find(site: &Site) -> Vec<String> {
    let mut leaked = Vec::new();
    for pid in tree_of(&site.data_dir()) {
        leaked.push(format!("process {pid}: {}", command_line(pid)));
    }
    for dir in cgroup_dirs(site) {
        leaked.push(format!("cgroup {}", dir.display()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let dir = site.dir.to_string_lossy().into_owned();
    leaked.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&dir))
            .map(|l| format!("mount {l}")),
    );
    leaked.extend(links(site).into_iter().map(|name| format!("link {name}")));
    let tables = output(Command::new("nft").args(["list", "tables"]));
    let tables = String::from_utf8_lossy(&tables.stdout).into_owned();
    let of_site = |line: &&str| line.split_whitespace().any(|word| word == site.bridge);
    leaked.extend(
        tables
            .lines()
            .filter(of_site)
            .map(|line| format!("nftables {line}")),
    );
    leaked
}

/// Removes what [`find`] reported, so that one failure does not become many.
pub fn clean(site: &Site) {
    for pid in tree_of(&site.data_dir()) {
        output(Command::new("kill").arg("-KILL").arg(pid.to_string()));
    }
    for dir in cgroup_dirs(site) {
        clean_cgroup(&dir);
    }
    for name in links(site) {
        output(Command::new("ip").args(["link", "delete", &name]));
    }
    for family in ["ip", "ip6", "inet", "bridge"] {
        output(Command::new("nft").args(["delete", "table", family, &site.bridge]));
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
