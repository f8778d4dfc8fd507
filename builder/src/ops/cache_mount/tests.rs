use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{CacheMounts, UNUSED_MAX};
use crate::solver::op::Sharing;

/// A published cache that holds `bytes`.
async fn filled(caches: &CacheMounts, id: &str, bytes: usize) -> PathBuf {
    let mut lease = caches.lease(id, Sharing::Shared).await.unwrap();
    if lease.fresh {
        lease.publish(Sharing::Shared).unwrap();
    }
    fs::create_dir_all(lease.path.join("deep")).unwrap();
    fs::write(lease.path.join("deep/file"), vec![0; bytes]).unwrap();
    lease.path.clone()
}

fn set_age(path: &Path, age: Duration) {
    let then = SystemTime::now() - age;
    fs::File::open(path).unwrap().set_modified(then).unwrap();
}

fn sizes(caches: &CacheMounts) -> Vec<Option<u64>> {
    let mut sizes: Vec<_> = caches.usage().unwrap().iter().map(|c| c.bytes).collect();
    sizes.sort();
    sizes
}

#[tokio::test]
async fn a_cache_that_no_step_asked_for_in_a_month_expires() {
    let dir = tempfile::tempdir().unwrap();
    let caches = CacheMounts::open(dir.path()).unwrap();
    let old = filled(&caches, "old", 1).await;
    let used = filled(&caches, "used", 2).await;
    let young = filled(&caches, "young", 3).await;
    let minute = Duration::from_secs(60);
    for path in [&old, &used] {
        set_age(path, UNUSED_MAX + minute);
    }
    set_age(&young, UNUSED_MAX - minute);
    filled(&caches, "used", 2).await;

    caches.expire().unwrap();
    assert!(!old.exists() && used.exists() && young.exists());
    assert_eq!(sizes(&caches), [Some(2), Some(3)]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no remains");
    // Asked for again it begins anew.
    assert!(caches.lease("old", Sharing::Locked).await.unwrap().fresh);
}

#[tokio::test]
async fn a_step_cannot_keep_its_cache_from_expiring() {
    let dir = tempfile::tempdir().unwrap();
    let caches = CacheMounts::open(dir.path()).unwrap();
    let path = filled(&caches, "a", 1).await;
    let lease = caches.lease("a", Sharing::Shared).await.unwrap();
    let far = SystemTime::now() + Duration::from_secs(1 << 32);
    fs::File::open(&path).unwrap().set_modified(far).unwrap();
    drop(lease);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    assert!(modified <= SystemTime::now());
}

#[tokio::test]
async fn sizes_are_those_after_the_last_use() {
    let dir = tempfile::tempdir().unwrap();
    let caches = CacheMounts::open(dir.path()).unwrap();
    assert_eq!(sizes(&caches), []);
    let path = filled(&caches, "a", 1000).await;
    assert_eq!(sizes(&caches), [Some(1000)]);
    // While a step has it, and again when that ends.
    let lease = caches.lease("a", Sharing::Shared).await.unwrap();
    assert_eq!(sizes(&caches), [Some(1000)]);
    fs::write(path.join("deep/more"), [0; 500]).unwrap();
    drop(lease);
    assert_eq!(sizes(&caches), [Some(1500)]);

    let mut deep = path.clone();
    for _ in 0..300 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(sizes(&caches), [None]);
    caches.remove(&path).unwrap();
    assert_eq!(sizes(&caches), []);
}
