//! The rules of the design that a compiler does not hold: crate edges, where
//! `unsafe`, SQL and the environment may be, and the size of the house.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Which of our crates each may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("builder-proto", &[]),
    ("engine-api", &[]),
    ("registry", &["oci"]),
    ("runtime", &["oci"]),
    ("builder", &["builder-proto", "oci", "runtime"]),
    ("engine", &["builder", "engine-api", "oci", "runtime"]),
    ("cli", &["builder-proto", "engine-api", "oci"]),
];
/// Packages in Cargo.lock, at most.
const PACKAGES_MAX: usize = 450;

#[test]
fn crate_edges() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<_> = packages
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if name == "carrack" {
            continue;
        }
        let allowed = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in EDGES"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            assert!(
                !ours.contains(dependency) || dependency == name || allowed.contains(&dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn the_command_line_needs_only_the_vocabulary() {
    let manifest = fs::read_to_string(root().join("engine/cli/Cargo.toml")).unwrap();
    for line in manifest.lines().filter(|line| line.starts_with("oci")) {
        assert!(
            !line.contains("client") && !line.contains("layer"),
            "cli takes features: {line}"
        );
    }
}

#[test]
fn the_lock_file_is_bounded() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let names: Vec<_> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    assert!(
        names.len() <= PACKAGES_MAX,
        "{} packages in Cargo.lock",
        names.len()
    );
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for dir in ["src", "oci", "registry", "builder", "engine", "tests"] {
        collect(&root().join(dir), &mut found);
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn collect(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
        }
    }
}

/// Fails with every line of code for which `wrong` holds. Test code, which
/// may do more, is exempt.
fn check(rule: &str, wrong: impl Fn(&Path, &str) -> bool) {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let name = path.to_string_lossy().into_owned();
        let is_test = path.starts_with("tests")
            || name.contains("/tests")
            || name.contains("/examples/")
            || name.contains("/benches/");
        if is_test {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if wrong(&path, code) {
                broken.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn unsafe_only_in_runtime() {
    check("unsafe is for engine/runtime alone", |path, line| {
        !path.starts_with("engine/runtime")
            && ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|word| line.contains(word))
    });
}

#[test]
fn sql_only_under_db() {
    check("SQL belongs under src/db", |path, line| {
        let in_db = path
            .components()
            .any(|part| part.as_os_str() == "db" || part.as_os_str() == "db.rs");
        !in_db && (line.contains("sqlx::query") || line.contains("sqlx::raw_sql"))
    });
}

#[test]
fn environment_only_in_config() {
    check(
        "the environment is read in config.rs alone",
        |path, line| {
            let in_config = path
                .components()
                .any(|part| part.as_os_str() == "config" || part.as_os_str() == "config.rs");
            !in_config
                && ["env::var", "env::vars"]
                    .iter()
                    .any(|word| line.contains(word))
        },
    );
}

#[test]
fn no_left_overs() {
    check("left-over macro", |_, line| {
        ["todo!(", "unimplemented!(", "dbg!("]
            .iter()
            .any(|word| line.contains(word))
    });
}

#[test]
fn the_architecture_page_stays_short() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(
        page.lines().count() <= 200,
        "ARCHITECTURE.md has more than 200 lines"
    );
}
