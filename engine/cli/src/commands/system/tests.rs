use engine_api::{ContainerSummary, ImageSummary, Volume, VolumeUsage};

use super::*;

#[test]
fn what_uses_the_disk() {
    let image = |containers, size| ImageSummary {
        containers,
        size,
        ..ImageSummary::default()
    };
    let container = |state: &str, size| ContainerSummary {
        state: state.to_owned(),
        size_rw: Some(size),
        ..ContainerSummary::default()
    };
    let volume = |links, size| Volume {
        usage_data: Some(VolumeUsage {
            size,
            ref_count: links,
        }),
        ..Volume::default()
    };
    let usage = DiskUsage {
        layers_size: 4_000_000,
        images: Some(vec![image(1, 3_000_000), image(0, 1_000_000)]),
        containers: Some(vec![
            container("running", 20_480),
            container("exited", 1000),
        ]),
        volumes: Some(vec![volume(1, 500), volume(0, 1500)]),
        build_cache: Some(vec![
            serde_json::json!({"Size": 100, "InUse": true}),
            serde_json::json!({"Size": 2000}),
            serde_json::json!({"Size": 9000, "Shared": true}),
        ]),
        ..DiskUsage::default()
    };
    insta::assert_snapshot!(USAGE.render(None, rows(&usage)).unwrap(), @r"
    TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
    Images          2         1         4MB       1MB (25%)
    Containers      2         1         21.48kB   1kB (4%)
    Local Volumes   2         1         2kB       1.5kB (75%)
    Build Cache     3         1         2.1kB     2kB
    ");
    insta::assert_snapshot!(USAGE.render(None, rows(&DiskUsage::default())).unwrap(), @r"
    TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
    Images          0         0         0B        0B
    Containers      0         0         0B        0B
    Local Volumes   0         0         0B        0B
    Build Cache     0         0         0B        0B
    ");
}
