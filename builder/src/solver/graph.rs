//! A definition turned into a graph that can be trusted.
//!
//! Everything a stranger can get wrong in a definition is found here, before
//! anything runs: undecodable or missing operations, inputs that do not exist,
//! indexes out of range, cycles, and graphs too large or too deep. Vertices
//! that the result does not need are dropped.

use std::collections::{HashMap, hash_map::Entry};

use builder_proto::pb;
use bytes::Bytes;
use oci::Digest;
use prost::Message;

use super::{
    GraphError,
    op::{Op, Source},
    op_decode,
};

/// Most operations of a definition: the largest builds seen in public are a
/// few hundred.
pub(crate) const VERTICES_MAX: usize = 10_000;
/// Longest chain of operations. Each may add a layer, and overlayfs stacks at
/// most 500, so a longer chain could not be mounted; twice that leaves room
/// for operations that add none.
pub(crate) const DEPTH_MAX: usize = 1_000;
/// Largest definition in bytes: the message limit of BuildKit's own servers.
pub(crate) const BYTES_MAX: usize = 16 * 1024 * 1024;

/// One output of one vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Position in [`Graph::vertices`].
    pub(crate) vertex: usize,
    pub(crate) output: usize,
}

/// Where in a source text a vertex comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) file: String,
    /// 1-based, inclusive.
    pub(crate) first_line: u32,
    pub(crate) last_line: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Vertex {
    /// Digest of the operation as sent.
    pub(crate) digest: Digest,
    pub(crate) op: Op,
    pub(crate) inputs: Vec<Edge>,
    /// The part of the operation that cache keys are made of.
    pub(crate) key_bytes: Vec<u8>,
    /// What progress shows.
    pub(crate) name: String,
    pub(crate) ignore_cache: bool,
    pub(crate) location: Option<Location>,
}

/// Vertices in an order in which inputs come before their users.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) vertices: Vec<Vertex>,
    /// `None` is the empty file system.
    pub(crate) result: Option<Edge>,
}

impl Graph {
    /// Decodes and checks a definition. One without operations is the empty
    /// file system.
    ///
    /// # Errors
    /// A [`GraphError`] for whatever the sender got wrong; never panics.
    pub(crate) fn decode(definition: &pb::Definition) -> Result<Self, GraphError> {
        let bytes: usize = definition.def.iter().map(Bytes::len).sum();
        if bytes > BYTES_MAX {
            return Err(GraphError::TooLarge(bytes));
        }
        if definition.def.len() > VERTICES_MAX {
            return Err(GraphError::TooManyVertices(definition.def.len()));
        }
        let Some((last, rest)) = definition.def.split_last() else {
            return Ok(Self {
                vertices: Vec::new(),
                result: None,
            });
        };
        let mut ops = Vec::with_capacity(rest.len());
        let mut by_digest = HashMap::with_capacity(rest.len());
        for (position, data) in rest.iter().enumerate() {
            let op = decode_op(position, data)?;
            let digest = Digest::sha256(data);
            if let Entry::Vacant(entry) = by_digest.entry(digest) {
                entry.insert(ops.len());
                ops.push((digest, op));
            }
        }
        let last = decode_op(rest.len(), last)?;
        let (result, output) = match (last.op, last.inputs.as_slice()) {
            (None, [input]) => (lookup("result", input, &by_digest)?, input.index),
            _ => return Err(GraphError::NoResult),
        };
        let order = order(&ops, &by_digest, result)?;
        assemble(definition, ops, &by_digest, &order, output)
    }

    /// The vertex with this digest.
    pub(crate) fn vertex(&self, digest: &Digest) -> Option<&Vertex> {
        self.vertices.iter().find(|vertex| vertex.digest == *digest)
    }
}

fn decode_op(position: usize, data: &Bytes) -> Result<pb::Op, GraphError> {
    pb::Op::decode(data.clone()).map_err(|error| GraphError::Protobuf {
        position,
        reason: error.to_string(),
    })
}

fn lookup(
    vertex: &str,
    input: &pb::Input,
    by_digest: &HashMap<Digest, usize>,
) -> Result<usize, GraphError> {
    let digest: Digest = input
        .digest
        .parse()
        .map_err(|_| GraphError::BadDigest(input.digest.chars().take(80).collect()))?;
    by_digest
        .get(&digest)
        .copied()
        .ok_or_else(|| GraphError::UnknownInput {
            vertex: vertex.to_owned(),
            input: digest.to_string(),
        })
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Done { depth: usize },
}

/// Positions that the result needs, inputs first. Iterative, since the depth
/// is the sender's choice.
fn order(
    ops: &[(Digest, pb::Op)],
    by_digest: &HashMap<Digest, usize>,
    result: usize,
) -> Result<Vec<usize>, GraphError> {
    let mut marks = vec![Mark::New; ops.len()];
    let mut order = Vec::new();
    // A vertex and the number of its inputs already visited.
    let mut stack = vec![(result, 0_usize)];
    marks[result] = Mark::Open;
    while let Some((at, next)) = stack.pop() {
        let (digest, op) = &ops[at];
        if let Some(input) = op.inputs.get(next) {
            stack.push((at, next + 1));
            let below = lookup(&digest.to_string(), input, by_digest)?;
            match marks[below] {
                Mark::New => {
                    marks[below] = Mark::Open;
                    stack.push((below, 0));
                }
                Mark::Open => return Err(GraphError::Cycle),
                Mark::Done { .. } => {}
            }
            continue;
        }
        let mut depth = 0;
        for input in &op.inputs {
            let below = lookup(&digest.to_string(), input, by_digest)?;
            if let Mark::Done { depth: under } = marks[below] {
                depth = depth.max(under + 1);
            }
        }
        if depth > DEPTH_MAX {
            return Err(GraphError::TooDeep);
        }
        marks[at] = Mark::Done { depth };
        order.push(at);
    }
    Ok(order)
}

fn assemble(
    definition: &pb::Definition,
    ops: Vec<(Digest, pb::Op)>,
    by_digest: &HashMap<Digest, usize>,
    order: &[usize],
    output: i64,
) -> Result<Graph, GraphError> {
    let mut ops: Vec<Option<(Digest, pb::Op)>> = ops.into_iter().map(Some).collect();
    let mut new_position = vec![usize::MAX; ops.len()];
    let mut vertices: Vec<Vertex> = Vec::with_capacity(order.len());
    for at in order {
        let (digest, op) = ops[*at].take().expect("an order names each vertex once");
        let name = digest.to_string();
        let mut inputs = Vec::with_capacity(op.inputs.len());
        for input in &op.inputs {
            let below = new_position[lookup(&name, input, by_digest)?];
            inputs.push(edge(&name, &vertices, below, input.index)?);
        }
        let key_bytes = super::key::op_bytes(&op);
        let metadata = definition.metadata.get(&name);
        let op = op_decode::op(&name, op)?;
        new_position[*at] = vertices.len();
        vertices.push(Vertex {
            digest,
            inputs,
            key_bytes,
            name: metadata
                .and_then(|m| m.description.get("llb.customname"))
                .cloned()
                .unwrap_or_else(|| default_name(&op)),
            ignore_cache: metadata.is_some_and(|m| m.ignore_cache),
            location: location(definition, &name),
            op,
        });
    }
    // The order ends with the vertex it started from.
    let result = edge("result", &vertices, vertices.len() - 1, output)?;
    Ok(Graph {
        vertices,
        result: Some(result),
    })
}

fn edge(vertex: &str, vertices: &[Vertex], below: usize, index: i64) -> Result<Edge, GraphError> {
    let outputs = vertices[below].op.outputs();
    match usize::try_from(index) {
        Ok(output) if output < outputs => Ok(Edge {
            vertex: below,
            output,
        }),
        _ => Err(GraphError::NoSuchOutput {
            vertex: vertex.to_owned(),
            input: vertices[below].digest.to_string(),
            index,
            outputs,
        }),
    }
}

fn default_name(op: &Op) -> String {
    match op {
        Op::Source(Source::Image(image)) => format!("docker-image://{}", image.reference),
        Op::Source(Source::Local(local)) => format!("local://{}", local.name),
        Op::Exec(exec) => exec.args.join(" "),
        Op::File(_) => "file operation".to_owned(),
    }
}

/// The first source location of a vertex, when the definition has one that
/// makes sense; a wrong source map costs the excerpt, not the build.
fn location(definition: &pb::Definition, vertex: &str) -> Option<Location> {
    let source = definition.source.as_ref()?;
    let first = source.locations.get(vertex)?.locations.first()?;
    let info = source
        .infos
        .get(usize::try_from(first.source_index).ok()?)?;
    let range = first.ranges.first()?;
    let first_line = u32::try_from(range.start.as_ref()?.line).ok()?.max(1);
    let last_line = u32::try_from(range.end.as_ref()?.line).ok()?;
    Some(Location {
        file: info.filename.clone(),
        first_line,
        last_line: last_line.max(first_line),
    })
}

#[cfg(test)]
#[path = "graph/tests.rs"]
mod tests;
