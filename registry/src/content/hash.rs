//! Midstates of hashers, so that an upload goes on hashing after a restart.

use oci::{Algorithm, Hasher};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

/// The hasher's state as bytes: 104 for sha256, 208 for sha512.
pub(crate) fn save_hasher(hasher: &Hasher) -> Vec<u8> {
    match hasher {
        Hasher::Sha256(hasher) => hasher.serialize().to_vec(),
        Hasher::Sha512(hasher) => hasher.serialize().to_vec(),
    }
}

/// Reads [`save_hasher`] back; `None` when the bytes are no state of `algorithm`.
pub(crate) fn restore_hasher(algorithm: Algorithm, state: &[u8]) -> Option<Hasher> {
    match algorithm {
        Algorithm::Sha256 => {
            let state = SerializedState::<sha2::Sha256>::try_from(state).ok()?;
            sha2::Sha256::deserialize(&state).ok().map(Hasher::Sha256)
        }
        Algorithm::Sha512 => {
            let state = SerializedState::<sha2::Sha512>::try_from(state).ok()?;
            sha2::Sha512::deserialize(&state).ok().map(Hasher::Sha512)
        }
    }
}

#[cfg(test)]
#[path = "hash/tests.rs"]
mod tests;
