use std::sync::{Arc, Mutex};

use axum::body::Body;
use futures_util::{StreamExt, stream};
use oci::{Algorithm, Digest};

use super::*;

/// Remembers what was written; fails after `room` bytes.
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl ObjectWriter for Memory {
    fn write(&mut self, chunks: &[Bytes]) -> Result<(), StoreError> {
        let mut bytes = self.bytes.lock().unwrap();
        for chunk in chunks {
            if bytes.len() + chunk.len() > self.room {
                return Err(StoreError::Full);
            }
            bytes.extend_from_slice(chunk);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn seal(&mut self, _: &[u8]) -> Result<bool, StoreError> {
        Ok(false)
    }
}

async fn check(frames: Vec<Vec<u8>>, room: usize, bytes_max: u64, expected: &str) {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let ingest = Ingest {
        writer: Box::new(Memory {
            bytes: Arc::clone(&bytes),
            room,
        }),
        hasher: Hasher::new(Algorithm::Sha256),
        offset_bytes: 0,
    };
    let whole = frames.concat();
    let frames = stream::iter(frames).map(Ok::<_, std::io::Error>);
    let (ingest, result) = pump(ingest, Body::from_stream(frames), bytes_max).await;
    let ingest = ingest.unwrap();
    let shown = match result {
        Ok(()) => {
            assert_eq!(*bytes.lock().unwrap(), whole);
            assert_eq!(ingest.hasher.finish(), Digest::sha256(&whole));
            "whole".to_owned()
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn bodies_are_written_whole_and_hashed() {
    const ANY: u64 = u64::MAX;
    check(vec![], 0, ANY, "whole").await;
    check(vec![vec![1]; 70_000], usize::MAX, ANY, "whole").await;
    check(vec![vec![2; 100_000]; 50], usize::MAX, ANY, "whole").await;
    let mixed = (0..3000usize)
        .map(|n| vec![n as u8; n * 7 % 20_000])
        .collect();
    check(mixed, usize::MAX, ANY, "whole").await;
}

#[tokio::test]
async fn too_much_and_a_full_disk_are_told_apart() {
    let long = "the body is longer than the 9 bytes that were announced";
    check(vec![vec![1; 10]], usize::MAX, 9, long).await;
    check(vec![vec![1; 10]], usize::MAX, 10, "whole").await;
    let full = "no space left in the blob storage: free some or give it more, then push again";
    check(vec![vec![1; 500_000]; 20], 3_000_000, u64::MAX, full).await;
    check(vec![vec![1; 100]], 10, u64::MAX, full).await;
}
