use std::fmt::Write as _;

use builder_proto::{
    api::BuildOptions,
    pb::{self, Op, file_action::Action, op},
};
use oci::{ContainerConfig, Digest, RootFs};
use prost::Message;

use super::*;
use crate::dockerfile;

/// A base image with one layer and the given configuration.
fn base_image(config: ContainerConfig) -> ResolvedBase {
    ResolvedBase {
        digest: Digest::sha256(b"image"),
        config: ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            config,
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: vec![Digest::sha256(b"layer")],
            },
            ..ImageConfig::default()
        },
    }
}

fn default_base() -> ResolvedBase {
    base_image(ContainerConfig {
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        cmd: Some(vec!["/bin/sh".to_owned()]),
        ..ContainerConfig::default()
    })
}

fn options() -> BuildOptions {
    BuildOptions {
        platform: "linux/amd64".to_owned(),
        ..BuildOptions::default()
    }
}

/// Plans and lowers with every base image resolved to `image`.
fn lower_on(
    text: &str,
    options: &BuildOptions,
    image: &ResolvedBase,
) -> Result<Lowered, DockerfileError> {
    let plan = plan(dockerfile::parse(text, "Dockerfile")?, options)?;
    let mut resolved = ResolvedBases::new();
    loop {
        let missing = plan.missing(&resolved)?;
        if missing.is_empty() {
            return lower(&plan, &resolved, &SourceContext::default());
        }
        resolved.extend(missing.into_iter().map(|base| (base, image.clone())));
    }
}

/// The graph as text: per vertex its inputs, operation, name and lines.
fn dump(definition: &Definition) -> String {
    let mut out = String::new();
    let mut names = std::collections::HashMap::new();
    for (number, bytes) in definition.def.iter().enumerate() {
        let op = Op::decode(bytes.clone()).unwrap();
        let digest = Digest::sha256(bytes).to_string();
        let inputs: Vec<String> = op
            .inputs
            .iter()
            .map(|input| format!("{}", names[&input.digest]))
            .collect();
        names.insert(digest.clone(), number);
        let inputs = inputs.join(" ");
        let Some(kind) = &op.op else {
            writeln!(out, "{number}: result {inputs}").unwrap();
            continue;
        };
        let metadata = &definition.metadata[&digest];
        let name = &metadata.description["llb.customname"];
        let cached = if metadata.ignore_cache {
            " no-cache"
        } else {
            ""
        };
        let lines = definition.source.as_ref().unwrap().locations.get(&digest);
        let lines: Vec<String> = lines
            .iter()
            .flat_map(|locations| &locations.locations)
            .map(|location| {
                let line = |range: &pb::Range| range.start.unwrap().line;
                let (first, last) = (&location.ranges[0], location.ranges.last().unwrap());
                match (line(first), line(last)) {
                    (first, last) if first == last => format!("{first}"),
                    (first, last) => format!("{first}-{last}"),
                }
            })
            .collect();
        writeln!(
            out,
            "{number}: <- [{inputs}] {name:?} lines {}{cached}",
            lines.join(",")
        )
        .unwrap();
        dump_op(&mut out, kind);
    }
    out
}

fn dump_op(out: &mut String, kind: &op::Op) {
    match kind {
        op::Op::Source(source) => {
            writeln!(out, "   source {} {:?}", source.identifier, source.attrs).unwrap();
        }
        op::Op::Exec(exec) => {
            let meta = exec.meta.as_ref().unwrap();
            writeln!(
                out,
                "   exec {:?} in {} as {:?}",
                meta.args, meta.cwd, meta.user
            )
            .unwrap();
            writeln!(out, "   env {:?}", meta.env).unwrap();
            if let Some(proxy) = &meta.proxy_env {
                writeln!(out, "   {proxy:?}").unwrap();
            }
            if exec.network != 0 {
                writeln!(out, "   network {:?}", exec.network()).unwrap();
            }
            for mount in &exec.mounts {
                write!(
                    out,
                    "   {:?} {} <- {}{} -> {}",
                    mount.mount_type(),
                    mount.dest,
                    mount.input,
                    mount.selector,
                    mount.output
                )
                .unwrap();
                if mount.readonly {
                    write!(out, " ro").unwrap();
                }
                if let Some(cache) = &mount.cache_opt {
                    write!(out, " {} {:?}", cache.id, cache.sharing()).unwrap();
                }
                if let Some(tmpfs) = &mount.tmpfs_opt {
                    write!(out, " {} bytes", tmpfs.size).unwrap();
                }
                writeln!(out).unwrap();
            }
        }
        op::Op::File(file) => {
            for action in &file.actions {
                let ends = format!(
                    "{} {} -> {}",
                    action.input, action.secondary_input, action.output
                );
                match action.action.as_ref().unwrap() {
                    Action::Copy(copy) => {
                        write!(out, "   copy {ends}: {} to {}", copy.src, copy.dest).unwrap();
                        if let Some(owner) = &copy.owner {
                            write!(out, " owner {}", owner_text(owner)).unwrap();
                        }
                        if copy.mode != -1 || !copy.mode_str.is_empty() {
                            write!(out, " mode {:o}{}", copy.mode, copy.mode_str).unwrap();
                        }
                        for (set, flag) in [
                            (copy.follow_symlink, "follow"),
                            (copy.dir_copy_contents, "contents"),
                            (copy.attempt_unpack_docker_compatibility, "unpack"),
                            (copy.create_dest_path, "parents"),
                            (copy.allow_wildcard, "wildcard"),
                            (copy.allow_empty_wildcard, "empty"),
                        ] {
                            if set {
                                write!(out, " {flag}").unwrap();
                            }
                        }
                        for (name, list) in [
                            ("include", &copy.include_patterns),
                            ("exclude", &copy.exclude_patterns),
                            ("required", &copy.required_paths),
                        ] {
                            if !list.is_empty() {
                                write!(out, " {name} {list:?}").unwrap();
                            }
                        }
                        writeln!(out).unwrap();
                    }
                    Action::Mkdir(mkdir) => {
                        write!(out, "   mkdir {ends}: {} {:o}", mkdir.path, mkdir.mode).unwrap();
                        if let Some(owner) = &mkdir.owner {
                            write!(out, " owner {}", owner_text(owner)).unwrap();
                        }
                        writeln!(out).unwrap();
                    }
                    Action::Mkfile(file) => {
                        let data = String::from_utf8_lossy(&file.data);
                        writeln!(
                            out,
                            "   mkfile {ends}: {} {:o} {data:?}",
                            file.path, file.mode
                        )
                        .unwrap();
                    }
                    other => panic!("not made by this frontend: {other:?}"),
                }
            }
        }
        other => panic!("not made by this frontend: {other:?}"),
    }
}

fn owner_text(owner: &pb::ChownOpt) -> String {
    let one = |user: &Option<pb::UserOpt>| match user.as_ref().and_then(|u| u.user.as_ref()) {
        None => String::new(),
        Some(pb::user_opt::User::ById(id)) => id.to_string(),
        Some(pb::user_opt::User::ByName(name)) => format!("{}@{}", name.name, name.input),
    };
    format!("{}:{}", one(&owner.user), one(&owner.group))
}

fn graph(text: &str) -> String {
    dump(
        &lower_on(text, &options(), &default_base())
            .unwrap()
            .definition,
    )
}

#[test]
fn two_stages() {
    let text = "FROM debian:12 AS build\n\
                WORKDIR /src\n\
                COPY main.c .\n\
                RUN gcc -o app main.c\n\
                FROM scratch\n\
                COPY --from=build /src/app /app\n\
                CMD [\"/app\"]\n";
    insta::assert_snapshot!(graph(text));
}
