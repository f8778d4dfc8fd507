//! Variables: the ordered environment of a stage, and the global arguments.

use builder_proto::api::BuildOptions;
use oci::Platform;

use crate::dockerfile::{Dockerfile, DockerfileError, Expansion, Kind, Problem, Variables};

/// Largest environment, in bytes: every RUN of the stage carries it, and the
/// kernel refuses to start a process with more.
const ENVIRONMENT_BYTES_MAX: usize = 1 << 20;
/// Most variables: names are looked up by walking the list.
const VARIABLES_MAX: usize = 10_000;

/// `NAME=value` pairs in the order in which they were last set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// # Errors
    /// When the environment grows over its limit.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        self.put(name, value);
        let bytes: usize = self.0.iter().map(|(n, v)| n.len() + v.len() + 2).sum();
        if bytes > ENVIRONMENT_BYTES_MAX || self.0.len() > VARIABLES_MAX {
            return Err(Problem::too_large(format!(
                "the environment is larger than {ENVIRONMENT_BYTES_MAX} bytes or {VARIABLES_MAX} variables"
            )));
        }
        Ok(())
    }

    /// Sets a variable; one that was set already moves to the end.
    pub(super) fn put(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn to_list(&self) -> Vec<String> {
        self.0.iter().map(|(n, v)| format!("{n}={v}")).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The platform arguments and the ARGs before the first FROM.
///
/// # Errors
/// Default values that cannot be expanded.
pub(super) fn global_environment(
    dockerfile: &Dockerfile,
    options: &BuildOptions,
    build: &Platform,
    target: &Platform,
    target_stage: &str,
) -> Result<Environment, DockerfileError> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let automatic = [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", text(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", text(&build.variant)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", text(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", text(&target.variant)),
        ("TARGETSTAGE", target_stage.to_owned()),
    ];
    let mut environment = Environment::default();
    for (name, value) in &automatic {
        let value = options.build_args.get(*name).unwrap_or(value);
        environment.put(name, value);
    }
    let file = super::plan::source_of(dockerfile);
    let expansion = Expansion::new(dockerfile.directives.escape);
    for node in &dockerfile.global_args {
        let Kind::Arg(pairs) = &node.kind else {
            continue;
        };
        for pair in pairs {
            let value = match (options.build_args.get(&pair.name), &pair.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expanded = expansion.word(default, &environment);
                    Some(expanded.map_err(|p| p.at(&file, node.span, "ARG"))?.text)
                }
                (None, None) => None,
            };
            if let Some(value) = value {
                let set = environment.set(&pair.name, &value);
                set.map_err(|problem| problem.at(&file, node.span, "ARG"))?;
            }
        }
    }
    Ok(environment)
}
