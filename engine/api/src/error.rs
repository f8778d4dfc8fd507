//! The body of every error answer.

use serde::{Deserialize, Serialize};

/// `{"message": "…"}`; clients match on the text, so it is API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMessage {
    #[serde(default)]
    pub message: String,
}
