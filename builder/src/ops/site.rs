//! One build at work: the solver's executor on this host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};
use oci::{Algorithm, Digest, Hasher};
use runtime::{root::Root, snapshot::LayerPin};
use tokio_util::sync::CancellationToken;

use super::{Tree, Workshop, content, exec, file, layers::blocking};
use crate::solver::{
    Executed, Executor, Job, OpError, Value,
    executor::Progress,
    key::Selection,
    op::{Change, FileInput, Local, Op, Source},
};

/// The name of the build context among local sources.
pub(crate) const CONTEXT: &str = crate::lower::CONTEXT_NAME;

/// One build's executor.
#[derive(Debug)]
pub(crate) struct Site {
    pub(super) shop: Workshop,
    pub(super) tree: Arc<Tree>,
    pub(super) token: Option<String>,
    /// Layers of base images, by their names: nothing else refers to them
    /// before a step has used them.
    pub(super) pulled: Mutex<HashMap<Vec<String>, LayerPin>>,
    /// Ends digests of content; steps have a token of their own.
    pub(super) cancel: CancellationToken,
}

impl Site {
    /// The layers of a value, pulled if need be; `None` for the context.
    pub(crate) async fn layers(
        &self,
        value: &Value,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<String>>, OpError> {
        match value {
            Value::Layers(layers) => Ok(Some(layers.clone())),
            Value::Local(_) => Ok(None),
            Value::Image(image) => {
                let token = self.token.as_deref();
                let credentials = self.shop.credentials(&image.reference, token);
                let images = &self.shop.0.images;
                let pulled = images.pull(image, &credentials, progress, cancel).await?;
                let mut held = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
                held.entry(pulled.names.clone()).or_insert(pulled.pin);
                Ok(Some(pulled.names))
            }
        }
    }

    /// The files of a value, to be read.
    async fn root(
        &self,
        value: &Value,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Root, OpError> {
        match self.layers(value, progress, cancel).await? {
            None => self.tree.root(),
            Some(layers) => {
                let store = self.shop.0.layers.clone();
                let pinned = store.pin(&layers).await?;
                blocking(move || store.read(&pinned)).await
            }
        }
    }

    async fn exec(&self, job: &Job, exec: &crate::solver::op::Exec) -> Result<Executed, OpError> {
        let mut inputs = Vec::with_capacity(job.inputs.len());
        for value in &job.inputs {
            inputs.push(
                match self.layers(value, &job.progress, &job.cancel).await? {
                    Some(layers) => exec::Input::Layers(layers),
                    None => exec::Input::Directory(self.tree.path().to_owned()),
                },
            );
        }
        self.shop.0.sandboxes.run(job, exec, &inputs).await
    }

    async fn file(&self, job: &Job) -> Result<Executed, OpError> {
        let Op::File(file) = &job.vertex.op else {
            unreachable!("called for file operations");
        };
        let mut inputs = Vec::with_capacity(job.inputs.len());
        for (at, value) in job.inputs.iter().enumerate() {
            let layers = self.layers(value, &job.progress, &job.cancel).await?;
            let read = file.actions.iter().any(
                |action| matches!(&action.change, Change::Copy(copy) if copy.from == FileInput::Input(at)),
            );
            let root = match read {
                true => Some(self.root(value, &job.progress, &job.cancel).await?),
                false => None,
            };
            inputs.push(file::Input { layers, root });
        }
        let layers = self.shop.0.layers.clone();
        let (vertex, cancel) = (job.vertex.clone(), job.cancel.clone());
        let runtime = tokio::runtime::Handle::current();
        blocking(move || {
            let Op::File(file) = &vertex.op else {
                unreachable!("called for file operations");
            };
            let work = file::Work {
                layers: &layers,
                runtime,
                cancel: &cancel,
            };
            file::run(&work, file, &inputs)
        })
        .await
    }

    /// The context, if that is what a local source names.
    fn check(&self, local: &Local) -> Result<(), OpError> {
        if local.name != CONTEXT {
            return Err(OpError::User(format!(
                "the build came with no directory called {:?}",
                local.name
            )));
        }
        if !local.include.is_empty() || !local.exclude.is_empty() {
            return Err(OpError::User(
                "patterns on a local source are not supported: use .dockerignore".to_owned(),
            ));
        }
        Ok(())
    }
}

impl Executor for Site {
    fn source_identity<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Digest, OpError>> {
        async move {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            match source {
                Source::Image(image) => {
                    // The registry it comes from does not change what it is.
                    let digest = image.reference.digest();
                    let digest = digest.expect("image sources are pinned by digest");
                    hasher.update(b"image");
                    hasher.update(&digest.to_column());
                    hasher.update(image.platform.to_string().as_bytes());
                }
                Source::Local(local) => {
                    self.check(local)?;
                    hasher.update(b"local");
                    hasher.update(&self.tree.identity().to_column());
                }
            }
            Ok(hasher.finish())
        }
        .boxed()
    }

    fn content_digest<'a>(
        &'a self,
        value: &'a Value,
        selection: &'a Selection,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Digest, OpError>> {
        async move {
            let root = self.root(value, progress, &self.cancel).await?;
            let (files, cancel) = (selection.files.clone(), self.cancel.clone());
            blocking(move || content::digest(&root, &files, &cancel)).await
        }
        .boxed()
    }

    fn execute(&self, job: Job) -> BoxFuture<'_, Result<Executed, OpError>> {
        async move {
            let executed = match &job.vertex.op {
                Op::Exec(exec) => self.exec(&job, exec).await,
                Op::File(_) => self.file(&job).await,
                Op::Source(_) => unreachable!("sources are not executed"),
            }?;
            self.shop.0.layers.keep(executed.outputs.iter().flatten());
            Ok(executed)
        }
        .boxed()
    }

    fn discard<'a>(&'a self, layers: &'a [String]) -> BoxFuture<'a, ()> {
        self.shop.0.layers.remove(layers).boxed()
    }
}
