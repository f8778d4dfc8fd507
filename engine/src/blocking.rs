//! Blocking work of the runtime, off the async threads.

use crate::error::{EngineError, Result, chain};

/// Runs blocking work of the runtime off the async threads.
pub(crate) async fn blocking<T, E>(
    work: impl FnOnce() -> std::result::Result<T, E> + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            Err(EngineError::Internal(chain(&*error)))
        }
        Err(error) => Err(EngineError::internal("blocking task", error)),
    }
}
