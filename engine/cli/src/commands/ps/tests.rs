use engine_api::MountPoint;
use time::macros::datetime;

use super::*;

fn port(ip: &str, public: u16, private: u16, kind: &str) -> ListPort {
    ListPort {
        ip: ip.to_owned(),
        private_port: private,
        public_port: public,
        kind: kind.to_owned(),
    }
}

#[test]
fn ports_are_grouped() {
    for (list, expected) in [
        (vec![], ""),
        (vec![port("", 0, 80, "tcp")], "80/tcp"),
        (
            vec![
                port("", 0, 81, "tcp"),
                port("", 0, 80, "tcp"),
                port("", 0, 80, "udp"),
            ],
            "80-81/tcp, 80/udp",
        ),
        (
            vec![
                port("0.0.0.0", 8080, 80, "tcp"),
                port("::", 8080, 80, "tcp"),
            ],
            "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        ),
        (
            vec![
                port("0.0.0.0", 80, 80, "tcp"),
                port("0.0.0.0", 81, 81, "tcp"),
                port("0.0.0.0", 83, 83, "tcp"),
            ],
            "0.0.0.0:80-81->80-81/tcp, 0.0.0.0:83->83/tcp",
        ),
        (
            vec![port("127.0.0.1", 9000, 90, "tcp"), port("", 0, 100, "tcp")],
            "100/tcp, 127.0.0.1:9000->90/tcp",
        ),
    ] {
        assert_eq!(ports(&list), expected);
    }
}

fn container() -> ContainerSummary {
    ContainerSummary {
        id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned(),
        names: vec!["/web".to_owned(), "/other/alias".to_owned()],
        image: "nginx@sha256:aa".to_owned(),
        image_id: "sha256:ffff".to_owned(),
        command: "/docker-entrypoint.sh \"nginx\"".to_owned(),
        created: 1_769_853_600,
        ports: vec![port("0.0.0.0", 8080, 80, "tcp")],
        size_rw: Some(1095),
        size_root_fs: Some(187_000_000),
        labels: [
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), "2".to_owned()),
        ]
        .into(),
        state: "running".to_owned(),
        status: "Up 2 hours".to_owned(),
        mounts: vec![MountPoint {
            name: "a-volume-with-a-long-name".to_owned(),
            driver: "local".to_owned(),
            ..MountPoint::default()
        }],
        ..ContainerSummary::default()
    }
}

const NOW: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);

#[test]
fn the_table() {
    let rows = || vec![row(&container(), true, NOW)];
    insta::assert_snapshot!(CONTAINERS.render(None, rows()).unwrap(), @r#"
    CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS       PORTS                  NAMES
    0123456789ab   nginx     "/docker-entrypoint.…"   2 hours ago   Up 2 hours   0.0.0.0:8080->80/tcp   web
    "#);
    insta::assert_snapshot!(CONTAINERS_WITH_SIZE.render(None, rows()).unwrap(), @r#"
    CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS       PORTS                  NAMES     SIZE
    0123456789ab   nginx     "/docker-entrypoint.…"   2 hours ago   Up 2 hours   0.0.0.0:8080->80/tcp   web       1.09kB (virtual 187MB)
    "#);
    insta::assert_snapshot!(CONTAINERS.render(None, Vec::new()).unwrap(), @"CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES");
}

#[test]
fn json_and_templates() {
    let rows = || vec![row(&container(), true, NOW)];
    insta::assert_snapshot!(CONTAINERS.render(Some("json"), rows()).unwrap(), @r#"{"Command":"\"/docker-entrypoint.…\"","CreatedAt":"2026-01-31 10:00:00 +0000 UTC","ID":"0123456789ab","Image":"nginx","Labels":"a=1,b=2","LocalVolumes":"1","Mounts":"a-volume-with-…","Names":"web","Networks":"","Ports":"0.0.0.0:8080->80/tcp","RunningFor":"2 hours ago","Size":"1.09kB (virtual 187MB)","State":"running","Status":"Up 2 hours"}"#);
    let text = CONTAINERS
        .render(
            Some(r#"{{.Names}}: {{.Label "b"}}{{.Label "none"}}"#),
            rows(),
        )
        .unwrap();
    assert_eq!(text, "web: 2\n");
    let uncut = CONTAINERS
        .render(
            Some("{{.Names}} {{.Image}}"),
            vec![row(&container(), false, NOW)],
        )
        .unwrap();
    assert_eq!(uncut, "web,other/alias nginx@sha256:aa\n");
}
