//! Checking credentials without touching a repository.

use http::Method;

use super::error::Subject;
use super::transport::Call;
use super::{Client, ClientError, Credentials};
use crate::{Reference, Repository};

impl Client {
    /// Asks a registry (`host[:port]`) whether it accepts credentials.
    ///
    /// # Errors
    /// `BadCredentials` or `Denied` when it does not, `Unreachable` when it
    /// gives no answer.
    pub async fn login(
        &self,
        registry: &str,
        credentials: &Credentials,
    ) -> Result<(), ClientError> {
        let protocol = |error: crate::ReferenceError| ClientError::Protocol {
            registry: registry.to_owned(),
            reason: error.to_string(),
        };
        // Tokens are asked for by repository; none is needed to hold this name.
        let repository = Repository::parse("library/login").map_err(protocol)?;
        let reference = Reference::new(registry, repository, None, None).map_err(protocol)?;
        let subject = Subject::Manifest(&reference);
        let call = Call::new(Method::GET, "v2/".to_owned(), subject, "pull");
        self.transport.send_ok(&call, credentials).await.map(drop)
    }
}
