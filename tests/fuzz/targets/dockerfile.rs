//! Any text as a Dockerfile: parsing and lowering never panic, end soon, and
//! give the same bytes twice.
//!
//! The two modules are taken as files: instrumenting the whole build service
//! for them would take minutes.

#![no_main]

#[path = "../../../builder/src"]
#[allow(dead_code, unreachable_pub)]
mod source {
    pub(crate) mod dockerfile;
    pub(crate) mod lower;
}

// Where the modules look for each other.
use source::{dockerfile, lower};

use builder_proto::api::BuildOptions;
use libfuzzer_sys::fuzz_target;
use lower::{ResolvedBase, ResolvedBases, SourceContext};
use oci::{Digest, ImageConfig};
use prost::Message as _;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let Ok(parsed) = dockerfile::parse(&text, "Dockerfile") else {
        return;
    };
    let Ok(plan) = lower::plan(parsed, &BuildOptions::default()) else {
        return;
    };
    let mut config = ImageConfig::default();
    config.rootfs.diff_ids.push(Digest::sha256(b"layer"));
    config
        .config
        .on_build
        .push("COPY --from=tools a b".to_owned());
    let mut resolved = ResolvedBases::new();
    while let Ok(missing) = plan.missing(&resolved) {
        if missing.is_empty() {
            break;
        }
        resolved.extend(missing.into_iter().map(|base| {
            let found = ResolvedBase {
                digest: Digest::sha256(b"image"),
                config: config.clone(),
            };
            (base, found)
        }));
    }
    let source = SourceContext::default();
    if let Ok(lowered) = lower::lower(&plan, &resolved, &source) {
        let again = lower::lower(&plan, &resolved, &source).expect("it just was lowered");
        assert_eq!(
            lowered.definition.encode_to_vec(),
            again.definition.encode_to_vec()
        );
    }
});
