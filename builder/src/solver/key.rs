//! Cache keys: digests of what determines a step's result.
//!
//! The *definition key* of a step is made of its operation and of the
//! identities of its inputs. The *content key* replaces the identity of an
//! input, where the step only reads some files of it, by the digest of those
//! files; so a COPY whose files did not change is found although the step
//! that made them ran again. Fields that do not change a result (proxies, the
//! addresses of extra hosts, scheduling hints) are left out of both.

use builder_proto::pb;
use oci::{Algorithm, Digest, Hasher};
use prost::Message;

use super::{
    graph::Vertex,
    op::{Change, Copy, File, FileAction, FileInput, MountKind, Op},
};

/// Changes when the meaning of keys or of stored layers changes, so that
/// records of older versions are never found.
const VERSION: &[u8] = b"carrack step 1";

/// The bytes of an operation that keys are made of.
pub(crate) fn op_bytes(op: &pb::Op) -> Vec<u8> {
    let mut op = op.clone();
    op.inputs.clear();
    op.constraints = None;
    if let Some(pb::op::Op::Exec(exec)) = &mut op.op
        && let Some(meta) = &mut exec.meta
    {
        meta.proxy_env = None;
        for host in &mut meta.extra_hosts {
            host.ip.clear();
        }
    }
    op.encode_to_vec()
}

/// Files of one input that a step reads, when it reads nothing else of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selection {
    pub(crate) input: usize,
    pub(crate) files: Files,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Files {
    /// What a copy takes.
    Copy(Box<Copy>),
    /// A directory or file, whole.
    Below(String),
}

/// What a step reads of each input of which it reads only some files. An
/// input that it also changes or runs on is not listed.
pub(crate) fn selections(vertex: &Vertex) -> Vec<Selection> {
    let mut whole = vec![false; vertex.inputs.len()];
    let mut found = Vec::new();
    match &vertex.op {
        Op::Source(_) => {}
        Op::File(file) => file_selections(file, &mut whole, &mut found),
        Op::Exec(exec) => {
            if let Some(input) = exec.root.input {
                whole[input] = true;
            }
            for mount in &exec.mounts {
                match &mount.kind {
                    MountKind::Bind {
                        input: Some(input),
                        selector,
                        readonly: true,
                    } => found.push(Selection {
                        input: *input,
                        files: Files::Below(selector.clone()),
                    }),
                    MountKind::Bind {
                        input: Some(input), ..
                    }
                    | MountKind::Cache {
                        input: Some(input), ..
                    } => whole[*input] = true,
                    MountKind::Bind { input: None, .. }
                    | MountKind::Cache { input: None, .. }
                    | MountKind::Tmpfs { .. } => {}
                }
            }
        }
    }
    found.retain(|selection| !whole[selection.input]);
    found
}

fn file_selections(file: &File, whole: &mut [bool], found: &mut Vec<Selection>) {
    for FileAction { input, change, .. } in &file.actions {
        if let FileInput::Input(input) = input {
            whole[*input] = true;
        }
        if let Change::Copy(copy) = change
            && let FileInput::Input(input) = copy.from
        {
            found.push(Selection {
                input,
                files: Files::Copy(Box::new(copy.clone())),
            });
        }
    }
}

/// The key of a step by its definition.
pub(crate) fn definition_key(vertex: &Vertex, identities: &[Digest]) -> Digest {
    let mut key = Key::new(b"definition", vertex);
    for (edge, identity) in vertex.inputs.iter().zip(identities) {
        key.field(&identity.to_column());
        key.number(edge.output);
    }
    key.finish()
}

/// The key of a step by content: `contents` has, for each selection in order,
/// the input it reads and the digest of the files.
pub(crate) fn content_key(
    vertex: &Vertex,
    identities: &[Digest],
    contents: &[(usize, Digest)],
) -> Digest {
    let mut key = Key::new(b"content", vertex);
    for (position, (edge, identity)) in vertex.inputs.iter().zip(identities).enumerate() {
        let mut by_content = contents.iter().filter(|(input, _)| *input == position);
        match by_content.next() {
            None => {
                key.field(&identity.to_column());
                key.number(edge.output);
            }
            Some((_, first)) => {
                key.field(b"files");
                key.field(&first.to_column());
                for (_, digest) in by_content {
                    key.field(&digest.to_column());
                }
                key.field(b"end");
            }
        }
    }
    key.finish()
}

/// A key that no other step will have.
pub(crate) fn unique_key(key: &Digest) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(&key.to_column());
    hasher.update(uuid::Uuid::new_v4().as_bytes());
    hasher.finish()
}

/// A digest over fields, each preceded by its length so that no two lists of
/// fields hash alike.
struct Key(Hasher);

impl Key {
    fn new(kind: &[u8], vertex: &Vertex) -> Self {
        let mut key = Self(Hasher::new(Algorithm::Sha256));
        key.field(VERSION);
        key.field(kind);
        key.field(&vertex.key_bytes);
        key.number(vertex.inputs.len());
        key
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn finish(self) -> Digest {
        self.0.finish()
    }
}

#[cfg(test)]
#[path = "key/tests.rs"]
mod tests;
