//! The LLB graph while it is made, and its serialised form.
//!
//! Nodes are appended after their inputs. The one exception is the build
//! context, whose attributes name the paths that instructions read and are
//! known only at the end: it is node 0 from the start and filled in last.

use std::collections::{BTreeMap, HashMap};

use builder_proto::pb::{
    self, Definition, Input, Location, Locations, Op, OpMetadata, Position, Range, Source,
    SourceInfo, SourceOp, WorkerConstraints, op,
};
use oci::{Digest, Platform};
use prost::{Message, bytes::Bytes};

use crate::dockerfile::{Problem, SourceFile, Span};

/// Largest graph, in bytes. Each RUN carries the whole environment, so a small
/// file can make a large graph.
const DEFINITION_BYTES_MAX: usize = 64 << 20;

/// A vertex of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// The build context.
pub(super) const CONTEXT: NodeId = NodeId(0);

/// A vertex's operation and what is said about it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) inputs: Vec<NodeId>,
    pub(super) op: op::Op,
    pub(super) platform: Option<Platform>,
    /// What progress shows.
    pub(super) name: String,
    /// The instruction's text, where BuildKit's clients look for it.
    pub(super) command: Option<String>,
    /// The instructions that it comes from.
    pub(super) spans: Vec<Span>,
    pub(super) ignore_cache: bool,
}

impl Node {
    pub(super) fn new(op: op::Op, inputs: Vec<NodeId>, name: impl Into<String>) -> Self {
        Self {
            inputs,
            op,
            platform: None,
            name: name.into(),
            command: None,
            spans: Vec::new(),
            ignore_cache: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    known: HashMap<(Vec<NodeId>, Digest), NodeId>,
    bytes: usize,
}

impl Graph {
    pub(super) fn new() -> Self {
        let context = SourceOp::default();
        Self {
            nodes: vec![Node::new(op::Op::Source(context), Vec::new(), "")],
            known: HashMap::new(),
            bytes: 0,
        }
    }

    /// Adds a vertex, or finds it: instructions that do the same to the same
    /// input are one vertex, under the name that the first of them gave it.
    ///
    /// # Errors
    /// When the graph grows over its limit.
    pub(super) fn add(&mut self, node: Node) -> Result<NodeId, Problem> {
        let bytes = op_of(&node).encode_to_vec();
        self.bytes += bytes.len() + node.name.len();
        if self.bytes > DEFINITION_BYTES_MAX {
            return Err(Problem::too_large(format!(
                "the Dockerfile makes a build graph of more than {DEFINITION_BYTES_MAX} bytes; use fewer instructions or less text in ENV and heredocs"
            )));
        }
        let key = (node.inputs.clone(), Digest::sha256(&bytes));
        if let Some(known) = self.known.get(&key) {
            self.nodes[known.0].spans.extend(node.spans);
            return Ok(*known);
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(node);
        self.known.insert(key, id);
        Ok(id)
    }

    pub(super) fn set_context(&mut self, node: Node) {
        self.nodes[CONTEXT.0] = node;
    }

    /// Serialises what `result` needs, inputs first. `None` is the empty file
    /// system, whose definition holds no vertex at all.
    pub(super) fn definition(&self, result: Option<NodeId>, file: &SourceFile<'_>) -> Definition {
        let mut out = Writer::default();
        if let Some(result) = result {
            let digest = self.write(result, &mut out);
            let end = Op {
                inputs: vec![Input { digest, index: 0 }],
                ..Op::default()
            };
            let bytes = end.encode_to_vec();
            out.metadata
                .insert(Digest::sha256(&bytes).to_string(), OpMetadata::default());
            out.ops.push(bytes.into());
        }
        let info = SourceInfo {
            filename: file.name.to_owned(),
            data: Bytes::copy_from_slice(file.text.as_bytes()),
            definition: None,
            language: "Dockerfile".to_owned(),
        };
        Definition {
            def: out.ops,
            metadata: out.metadata,
            source: Some(Source {
                locations: out.locations,
                infos: vec![info],
            }),
        }
    }

    /// Writes `root` and what it needs; returns its digest. With a stack of
    /// its own: a chain of thousands of instructions is as deep as it is long.
    fn write(&self, root: NodeId, out: &mut Writer) -> String {
        let mut stack = vec![root];
        while let Some(&id) = stack.last() {
            if out.digests.contains_key(&id) {
                stack.pop();
                continue;
            }
            let node = &self.nodes[id.0];
            let waiting: Vec<NodeId> = node
                .inputs
                .iter()
                .rev()
                .filter(|input| !out.digests.contains_key(input))
                .copied()
                .collect();
            if waiting.is_empty() {
                out.node(id, node);
                stack.pop();
            } else {
                stack.extend(waiting);
            }
        }
        out.digests[&root].clone()
    }
}

#[derive(Default)]
struct Writer {
    ops: Vec<Bytes>,
    digests: HashMap<NodeId, String>,
    metadata: BTreeMap<String, OpMetadata>,
    locations: BTreeMap<String, Locations>,
}

impl Writer {
    fn node(&mut self, id: NodeId, node: &Node) {
        let mut op = op_of(node);
        op.inputs = node
            .inputs
            .iter()
            .map(|input| Input {
                digest: self.digests[input].clone(),
                index: 0,
            })
            .collect();
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        self.digests.insert(id, digest.clone());
        if !node.spans.is_empty() {
            let locations = self.locations.entry(digest.clone()).or_default();
            let spans = node.spans.iter().copied();
            locations.locations.extend(spans.map(location));
        }
        let mut description = BTreeMap::from([("llb.customname".to_owned(), node.name.clone())]);
        if let Some(command) = &node.command {
            description.insert(
                "com.docker.dockerfile.v1.command".to_owned(),
                command.clone(),
            );
        }
        let metadata = OpMetadata {
            ignore_cache: node.ignore_cache,
            description,
            ..OpMetadata::default()
        };
        self.metadata.insert(digest, metadata);
        self.ops.push(bytes.into());
    }
}

fn op_of(node: &Node) -> Op {
    Op {
        inputs: Vec::new(),
        op: Some(node.op.clone()),
        platform: node.platform.as_ref().map(platform),
        constraints: Some(WorkerConstraints::default()),
    }
}

fn platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
        os_version: platform.os_version.clone().unwrap_or_default(),
        os_features: platform.os_features.clone(),
    }
}

/// One range per line, as BuildKit's own frontend writes them.
fn location(span: Span) -> Location {
    let ranges = (span.start..=span.end).map(|line| {
        let position = Position {
            line: i32::try_from(line).unwrap_or(i32::MAX),
            character: 0,
        };
        Range {
            start: Some(position),
            end: Some(position),
        }
    });
    Location {
        source_index: 0,
        ranges: ranges.collect(),
    }
}
