use std::path::PathBuf;

use super::{CacheUsage, Stock, Surplus};
use crate::db::OldRecord;

fn stock() -> Stock {
    let record = |id, layers: &[&str]| OldRecord {
        id,
        used_at: id * 10,
        layers: layers.iter().map(|name| (*name).to_owned()).collect(),
    };
    Stock {
        records: vec![
            record(1, &["base", "a"]),
            record(2, &["base", "b"]),
            record(3, &["base", "a", "c"]),
        ],
        sizes: [("base", 100), ("a", 10), ("b", 20), ("c", 30)]
            .map(|(name, size)| (name.to_owned(), size))
            .into(),
        mounts: Vec::new(),
    }
}

fn mount(name: &str, used_at: i64, bytes: Option<u64>) -> CacheUsage {
    CacheUsage {
        path: name.into(),
        used_at,
        bytes,
    }
}

#[track_caller]
fn check(stock: &Stock, bytes_max: u64, records: &[i64], layers: &[&str], mounts: &[&str]) {
    let expected = Surplus {
        records: records.to_vec(),
        layers: layers.iter().map(|name| (*name).to_owned()).collect(),
        mounts: mounts.iter().map(PathBuf::from).collect(),
    };
    assert_eq!(stock.surplus(bytes_max), expected);
    let any = !records.is_empty() || !mounts.is_empty();
    assert_eq!(stock.is_over(bytes_max), any);
}

#[test]
fn the_oldest_go_first_and_what_others_use_stays() {
    let stock = stock();
    check(&stock, 160, &[], &[], &[]);
    // The first record has nothing of its own.
    check(&stock, 159, &[1, 2], &["b"], &[]);
    check(&stock, 139, &[1, 2, 3], &["b", "base", "a", "c"], &[]);
}

#[test]
fn cache_mounts_and_steps_go_in_one_order() {
    let mut stock = stock();
    stock.mounts = vec![
        mount("old", 5, Some(1000)),
        mount("middle", 25, Some(500)),
        mount("new", 99, Some(5)),
    ];
    check(&stock, 1665, &[], &[], &[]);
    check(&stock, 1664, &[], &[], &["old"]);
    check(&stock, 664, &[1, 2], &["b"], &["old"]);
    check(&stock, 644, &[1, 2], &["b"], &["old", "middle"]);
    let all = ["b", "base", "a", "c"];
    check(&stock, 5, &[1, 2, 3], &all, &["old", "middle"]);
    check(&stock, 4, &[1, 2, 3], &all, &["old", "middle", "new"]);
}

#[test]
fn a_cache_mount_of_unknown_size_never_stays() {
    let mut stock = stock();
    stock.mounts = vec![mount("known", 1, Some(7)), mount("unknown", 99, None)];
    check(&stock, 1000, &[], &[], &["unknown"]);
    check(&stock, 166, &[], &[], &["unknown", "known"]);
}
