use engine_api::VolumeUsage;

use super::*;

#[test]
fn the_table() {
    let volume = |name: &str, usage| Volume {
        name: name.to_owned(),
        driver: "local".to_owned(),
        scope: "local".to_owned(),
        mountpoint: format!("/volumes/{name}/_data"),
        usage_data: usage,
        ..Volume::default()
    };
    let used = VolumeUsage {
        size: 1500,
        ref_count: 2,
    };
    let rows = || {
        vec![
            row(&volume("data", Some(used.clone()))),
            row(&volume("other", None)),
        ]
    };
    insta::assert_snapshot!(VOLUMES.render(None, rows()).unwrap(), @r"
    DRIVER    VOLUME NAME
    local     data
    local     other
    ");
    let format = "{{.Name}} {{.Size}} {{.Links}} {{.Mountpoint}}";
    insta::assert_snapshot!(VOLUMES.render(Some(format), rows()).unwrap(), @r"
    data 1.5kB 2 /volumes/data/_data
    other N/A N/A /volumes/other/_data
    ");
}
