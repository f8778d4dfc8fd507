use engine_api::PortBinding;
use proptest::prelude::*;

use super::*;

#[test]
fn ports() {
    let shown = |text: &str| {
        published(text).map(|ports| {
            ports
                .into_iter()
                .map(|(port, PortBinding { host_ip, host_port })| {
                    format!("{host_ip}|{host_port}>{port}")
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    for (text, expected) in [
        ("80", "|>80/tcp"),
        ("8080:80", "|8080>80/tcp"),
        (":80", "|>80/tcp"),
        ("0:80", "|0>80/tcp"),
        ("127.0.0.1:8080:80/udp", "127.0.0.1|8080>80/udp"),
        ("127.0.0.1::80", "127.0.0.1|>80/tcp"),
        ("[::1]:8080:80", "::1|8080>80/tcp"),
        ("[::]::80", "::|>80/tcp"),
        ("8000-8001:80-81", "|8000>80/tcp |8001>81/tcp"),
        ("8000-8010:80", "|8000-8010>80/tcp"),
        ("80-81/SCTP", "|>80/sctp |>81/sctp"),
        ("65535:65535", "|65535>65535/tcp"),
    ] {
        assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
    }
    for (text, part) in [
        ("", "containerPort"),
        ("x", "containerPort"),
        ("80:", "containerPort"),
        ("65536", "containerPort"),
        ("81-80", "containerPort"),
        ("x:80", "hostPort"),
        ("80/icmp", "proto"),
        ("1.2.3:80:80", "IP address"),
        ("[::1:80:80", "not closed"),
        ("::1:80:80", "in brackets"),
        ("8000-8002:80-81", "invalid ranges"),
        ("+80", "containerPort"),
    ] {
        let error = shown(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert_eq!(exposed("80").unwrap(), ["80/tcp"]);
    assert_eq!(exposed("80-81/udp").unwrap(), ["80/udp", "81/udp"]);
    assert!(exposed("8080:80").is_err());
}

#[test]
fn volumes() {
    let here = crate::config::current_dir().unwrap();
    let here = here.to_str().unwrap();
    let parent = std::path::Path::new(here)
        .parent()
        .unwrap()
        .to_str()
        .unwrap();
    for (text, expected) in [
        ("/data", Some(Volume::Anonymous("/data".to_owned()))),
        ("name:/data", Some(Volume::Bind("name:/data".to_owned()))),
        ("/a:/b:ro,z", Some(Volume::Bind("/a:/b:ro,z".to_owned()))),
        ("./x:/b", Some(Volume::Bind(format!("{here}/x:/b")))),
        (".:/b", Some(Volume::Bind(format!("{here}:/b")))),
        ("../x:/b", Some(Volume::Bind(format!("{parent}/x:/b")))),
        ("", None),
        ("data", None),
        ("a:b", None),
        (":/b", None),
        ("/a::ro", None),
        ("/a:/b:ro:x", None),
    ] {
        assert_eq!(volume(text).ok(), expected, "{text}");
    }
}

#[test]
fn mounts() {
    let bind = mount("type=bind,source=/a,target=/b,readonly,bind-propagation=rslave").unwrap();
    assert_eq!(
        (
            bind.kind.as_str(),
            bind.source.as_str(),
            bind.target.as_str(),
            bind.read_only
        ),
        ("bind", "/a", "/b", true)
    );
    assert_eq!(bind.bind_options.unwrap().propagation, "rslave");
    let volume =
        mount("src=data,dst=/d,ro=false,\"volume-opt=o=size=1,rw\",volume-nocopy").unwrap();
    assert_eq!((volume.kind.as_str(), volume.read_only), ("volume", false));
    let options = volume.volume_options.unwrap();
    assert!(options.no_copy);
    assert_eq!(options.driver_config.unwrap().options["o"], "size=1,rw");
    let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770")
        .unwrap()
        .tmpfs_options
        .unwrap();
    assert_eq!((tmpfs.size_bytes, tmpfs.mode), (64 << 20, 0o1770));
    for (text, part) in [
        ("", "key=value"),
        ("type=bind,target=/b", "source is required"),
        ("type=volume,source=a", "target is required"),
        ("type=odd,target=/b", "unknown mount type 'odd'"),
        ("target=/b,colour=red", "unexpected key 'colour'"),
        ("target=/b,readonly=maybe", "readonly"),
        ("target=/b,volume-opt", "key=value"),
        (
            "type=bind,source=/a,target=/b,tmpfs-size=1",
            "cannot mix 'tmpfs-*'",
        ),
        ("type=tmpfs,target=/b,tmpfs-mode=9", "octal"),
        ("target=\"/b", "not closed"),
    ] {
        let error = mount(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn environment_files_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(
        &file,
        "\u{feff}# note\n\n  A=1\nB=\"quoted \"\nPATH\nCARRACK_SURELY_UNSET\nC=\n",
    )
    .unwrap();
    let flags = [
        "D=4=4".to_owned(),
        "CARRACK_SURELY_UNSET".to_owned(),
        "PATH".to_owned(),
    ];
    let path = format!("PATH={}", crate::config::variable("PATH").unwrap());
    assert_eq!(
        environment(&[&file], &flags).unwrap(),
        [
            "A=1",
            "B=\"quoted \"",
            &path,
            "C=",
            "D=4=4",
            "CARRACK_SURELY_UNSET",
            &path
        ]
    );
    std::fs::write(&file, "A B=1\n").unwrap();
    assert!(
        environment(&[&file], &[])
            .unwrap_err()
            .contains("variable 'A B' contains whitespaces")
    );
    std::fs::write(&file, b"\xff=1").unwrap();
    assert!(
        environment(&[&file], &[])
            .unwrap_err()
            .contains("not UTF-8")
    );
    assert!(
        environment(&[dir.path().join("none")], &[])
            .unwrap_err()
            .contains("none")
    );
    assert!(environment(&[] as &[&str], &["=x".to_owned()]).is_err());
}

#[test]
fn limits() {
    for (text, expected) in [
        ("no", Some(("no", 0))),
        ("always", Some(("always", 0))),
        ("on-failure:3", Some(("on-failure", 3))),
        ("always:3", None),
        ("on-failure:-1", None),
        ("sometimes", None),
    ] {
        let got = restart_policy(text).ok();
        let got = got
            .as_ref()
            .map(|p| (p.name.as_str(), p.maximum_retry_count));
        assert_eq!(got, expected, "{text}");
    }
    for (text, expected) in [
        ("nofile=1024", Some((1024, 1024))),
        ("nofile=1024:2048", Some((1024, 2048))),
        ("core=-1", Some((-1, -1))),
        ("nofile=2:1", None),
        ("nofile=-1:1", None),
        ("files=1", None),
        ("nofile", None),
    ] {
        assert_eq!(
            ulimit(text).ok().map(|u| (u.soft, u.hard)),
            expected,
            "{text}"
        );
    }
    for (text, expected) in [
        ("/dev/a", Some("/dev/a /dev/a rwm")),
        ("/dev/a:r", Some("/dev/a /dev/a r")),
        ("/dev/a:/dev/b", Some("/dev/a /dev/b rwm")),
        ("/dev/a:/dev/b:rw", Some("/dev/a /dev/b rw")),
        ("/dev/a:/dev/b:x", None),
        ("dev", None),
    ] {
        let got = device(text).ok();
        let got = got.map(|d| {
            format!(
                "{} {} {}",
                d.path_on_host, d.path_in_container, d.cgroup_permissions
            )
        });
        assert_eq!(got.as_deref(), expected, "{text}");
    }
    assert_eq!(throttle("/dev/sda:1m").unwrap().rate, 1 << 20);
    assert!(throttle("sda:1m").is_err());
    assert!(weight_device("/dev/sda:5").is_err());
    assert_eq!(gpus("all").unwrap().count, -1);
    assert_eq!(gpus("2").unwrap().count, 2);
    assert!(gpus("some").is_err());
}

#[test]
fn networks_and_hosts() {
    assert_eq!(network("container:x").unwrap().name, "container:x");
    let long = network("name=web,alias=a,alias=b,ip=10.0.0.2,driver-opt=k=v").unwrap();
    assert_eq!(
        (
            long.name.as_str(),
            long.aliases.join(" ").as_str(),
            long.ipv4.as_str()
        ),
        ("web", "a b", "10.0.0.2")
    );
    assert_eq!(long.driver_opts["k"], "v");
    assert!(network("alias=a").is_err());
    assert!(network("name=a,nope=1").is_err());
    for (text, expected) in [
        ("db:10.0.0.1", Some("db:10.0.0.1")),
        ("db=10.0.0.1", Some("db:10.0.0.1")),
        ("db:::1", Some("db:::1")),
        ("db=[::1]", Some("db:::1")),
        (
            "host.docker.internal:host-gateway",
            Some("host.docker.internal:host-gateway"),
        ),
        ("db", None),
        (":1.2.3.4", None),
        ("db:nowhere", None),
    ] {
        assert_eq!(extra_host(text).ok().as_deref(), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn readers_never_panic(text in "[a-z0-9:/=,.\\[\\]\"-]{0,40}") {
        let _ = (published(&text), exposed(&text), volume(&text), mount(&text), network(&text));
        let _ = (ulimit(&text), device(&text), restart_policy(&text), extra_host(&text), gpus(&text));
    }

    #[test]
    fn what_is_published_is_in_range(host in 1_u16..65000, container in 1_u16..65000, count in 0_u16..500) {
        let text = format!("{host}-{}:{container}-{}", host + count, container + count);
        let ports = published(&text).unwrap();
        prop_assert_eq!(ports.len(), usize::from(count) + 1);
        if count > 0 {
            prop_assert_eq!(&ports[0].1.host_port, &host.to_string());
        }
    }
}
