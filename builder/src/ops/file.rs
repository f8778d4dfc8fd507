//! File operations: COPY, WORKDIR's mkdir and the like, without a process.
//!
//! Each action changes a snapshot that is mounted nowhere, through its
//! descriptor. Consecutive actions on the same file system share one snapshot,
//! so an instruction makes one layer. Blocks; runs on the blocking pool.

mod archive;
mod change;

use runtime::root::Root;
use tokio_util::sync::CancellationToken;

use super::layers::{Layers, Pinned, Scratch, new_name};
use crate::solver::{
    Executed, OpError,
    op::{Change, File, FileAction, FileInput},
};

/// An input of the operation, ready to be used.
#[derive(Debug)]
pub(crate) struct Input {
    /// Layers, when the input can be changed.
    pub(crate) layers: Option<Vec<String>>,
    /// Its files, when an action reads them.
    pub(crate) root: Option<Root>,
}

/// A file system between two actions.
enum State {
    /// Being written.
    Open {
        below: Vec<String>,
        scratch: Scratch,
        root: Root,
    },
    /// Kept; for what several actions or outputs use.
    Layers(Vec<String>),
    /// Given to the next action.
    Taken,
}

/// What runs an operation.
pub(crate) struct Work<'a> {
    pub(crate) layers: &'a Layers,
    /// For [`Layers::pin`].
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) cancel: &'a CancellationToken,
}

/// Runs a file operation. Nothing is left when it fails.
pub(crate) fn run(work: &Work<'_>, file: &File, inputs: &[Input]) -> Result<Executed, OpError> {
    let mut run = Run {
        work,
        inputs,
        states: Vec::with_capacity(file.actions.len()),
        created: Vec::new(),
    };
    match run.all(file) {
        Ok(outputs) => Ok(Executed {
            outputs,
            created: run.created,
        }),
        Err(error) => {
            drop(run.states);
            work.runtime.block_on(work.layers.remove(&run.created));
            Err(error)
        }
    }
}

struct Run<'a> {
    work: &'a Work<'a>,
    inputs: &'a [Input],
    states: Vec<State>,
    created: Vec<String>,
}

impl Run<'_> {
    fn all(&mut self, file: &File) -> Result<Vec<Vec<String>>, OpError> {
        for (at, action) in file.actions.iter().enumerate() {
            if self.work.cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
            let (below, scratch, root) = self.open(action.input)?;
            self.change(action, &root)?;
            let open = State::Open {
                below,
                scratch,
                root,
            };
            self.states.push(open);
            if !used_once_more(file, at) {
                let kept = std::mem::replace(&mut self.states[at], State::Taken);
                let layers = self.keep(kept)?;
                self.states[at] = State::Layers(layers);
            }
        }
        let mut outputs = vec![Vec::new(); file.outputs];
        for (action, state) in file.actions.iter().zip(&self.states) {
            if let (Some(output), State::Layers(layers)) = (action.output, state) {
                outputs[output].clone_from(layers);
            }
        }
        Ok(outputs)
    }

    /// The snapshot that an action changes.
    fn open(&mut self, input: FileInput) -> Result<(Vec<String>, Scratch, Root), OpError> {
        let below = match input {
            FileInput::Empty => Vec::new(),
            FileInput::Input(at) => self.inputs[at].layers.clone().ok_or_else(|| {
                OpError::User("a file operation cannot change the build context".to_owned())
            })?,
            FileInput::Action(at) => match std::mem::replace(&mut self.states[at], State::Taken) {
                State::Open {
                    below,
                    scratch,
                    root,
                } => return Ok((below, scratch, root)),
                State::Layers(layers) => {
                    self.states[at] = State::Layers(layers.clone());
                    layers
                }
                State::Taken => unreachable!("an open state has one user"),
            },
        };
        let pinned = self.pin(&below)?;
        let store = self.work.layers.store();
        let opened = Scratch::prepare(store, &pinned)
            .and_then(|scratch| scratch.mount().map(|root| (scratch, root)));
        let (scratch, root) =
            opened.map_err(|error| OpError::host("prepare a snapshot", &error))?;
        Ok((below, scratch, root))
    }

    fn pin(&self, names: &[String]) -> Result<Pinned, OpError> {
        self.work.runtime.block_on(self.work.layers.pin(names))
    }

    /// Commits a snapshot as a layer.
    fn keep(&mut self, state: State) -> Result<Vec<String>, OpError> {
        let State::Open {
            mut below,
            scratch,
            root,
        } = state
        else {
            unreachable!("only an open state is kept");
        };
        drop(root);
        let name = new_name();
        scratch.commit(&name)?;
        self.created.push(name.clone());
        below.push(name);
        Ok(below)
    }

    fn change(&mut self, action: &FileAction, root: &Root) -> Result<(), OpError> {
        let cancel = self.work.cancel;
        let Change::Copy(copy) = &action.change else {
            return change::apply(root, &action.change);
        };
        match copy.from {
            FileInput::Empty => {
                let source = self.work.layers.read(&self.pin(&[])?)?;
                change::copy(root, &source, copy, cancel)
            }
            FileInput::Input(at) => {
                let source = self.inputs[at].root.as_ref();
                let source = source.expect("the roots that actions read are opened");
                change::copy(root, source, copy, cancel)
            }
            FileInput::Action(at) => {
                let State::Layers(layers) = &self.states[at] else {
                    unreachable!("a state that is copied from is kept");
                };
                let pinned = self.pin(layers)?;
                let source = self.work.layers.read(&pinned)?;
                drop(pinned);
                change::copy(root, &source, copy, cancel)
            }
        }
    }
}

/// Whether the result of action `at` is changed by one later action and used
/// by nothing else, so that the same snapshot can go on.
fn used_once_more(file: &File, at: usize) -> bool {
    let this = FileInput::Action(at);
    let changed = file.actions.iter().filter(|a| a.input == this).count();
    let copied = file
        .actions
        .iter()
        .any(|a| matches!(&a.change, Change::Copy(copy) if copy.from == this));
    changed == 1 && !copied && file.actions[at].output.is_none()
}
