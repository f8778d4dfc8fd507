//! Gzip in independent blocks, so that cores share the work and the bytes do
//! not depend on how many there are.
//!
//! One gzip member whose deflate stream is cut every [`BLOCK_BYTES`]: each
//! block starts with the 32 KiB before it as dictionary and ends on a byte
//! boundary (a sync flush), as pigz does. Any gunzip reads it.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Input per block. Part of the format: another value means other digests.
const BLOCK_BYTES: usize = 1 << 20;

/// The deflate window (RFC 1951).
const DICTIONARY_BYTES: usize = 32 << 10;

/// Threads of one writer. More would wait for the hash of the input.
const WORKERS_MAX: usize = 8;

/// No name, no time, unknown system: nothing but the content (RFC 1952).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Compresses what is written to it. Must be finished.
pub(super) struct GzipWriter<W> {
    out: W,
    level: Compression,
    block: Vec<u8>,
    dictionary: Vec<u8>,
    crc: Crc,
    workers_max: usize,
    pool: Option<Pool>,
    /// Blocks being compressed, oldest first.
    pending: VecDeque<Receiver<Packed>>,
}

type Packed = io::Result<Vec<u8>>;

impl<W: Write> GzipWriter<W> {
    /// `workers_max` 0 compresses in the calling thread.
    pub(super) fn new(mut out: W, level: u32, workers_max: usize) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        let level = Compression::new(level);
        Ok(Self {
            out,
            level,
            block: Vec::with_capacity(BLOCK_BYTES),
            dictionary: Vec::new(),
            crc: Crc::new(),
            workers_max: workers_max.min(WORKERS_MAX),
            pool: None,
            pending: VecDeque::new(),
        })
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        while let Some(packed) = self.pending.pop_front() {
            self.out.write_all(&receive(&packed)?)?;
        }
        let last = pack(
            self.level,
            &self.block,
            &self.dictionary,
            FlushCompress::Finish,
        )?;
        self.out.write_all(&last)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        // The length is defined modulo 2^32, which is what Crc counts.
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    /// Sends a full block on its way and writes those that are done.
    fn cut(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let next = block[block.len() - DICTIONARY_BYTES..].to_vec();
        let dictionary = std::mem::replace(&mut self.dictionary, next);
        if self.workers_max == 0 {
            let packed = pack(self.level, &block, &dictionary, FlushCompress::Sync)?;
            return self.out.write_all(&packed);
        }
        let pool = self
            .pool
            .get_or_insert_with(|| Pool::start(self.workers_max, self.level));
        self.pending.push_back(pool.submit(block, dictionary)?);
        // One block more than there are workers keeps them all busy and memory bounded.
        while self.pending.len() > self.workers_max {
            if let Some(packed) = self.pending.pop_front() {
                self.out.write_all(&receive(&packed)?)?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        // Full blocks leave only when more follows: the last one ends the stream.
        if self.block.len() == BLOCK_BYTES {
            self.cut()?;
        }
        let length = data.len().min(BLOCK_BYTES - self.block.len());
        self.crc.update(&data[..length]);
        self.block.extend_from_slice(&data[..length]);
        Ok(length)
    }

    /// Does nothing: a flush would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn receive(packed: &Receiver<Packed>) -> Packed {
    packed
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("a compressor thread died")))
}

/// Compresses one block. Always with a fresh compressor: one that was reset
/// still has traces of the last block in its hash chains, and the bytes would
/// depend on which blocks met the same thread.
fn pack(level: Compression, block: &[u8], dictionary: &[u8], flush: FlushCompress) -> Packed {
    let mut compress = Compress::new(level, false);
    if !dictionary.is_empty() {
        compress
            .set_dictionary(dictionary)
            .map_err(io::Error::other)?;
    }
    let mut packed = Vec::with_capacity(block.len() / 2 + 4096);
    loop {
        let consumed = usize::try_from(compress.total_in()).map_err(io::Error::other)?;
        let status = compress
            .compress_vec(&block[consumed..], &mut packed, flush)
            .map_err(io::Error::other)?;
        // Output space left over means that deflate has nothing more to say.
        let done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => packed.len() < packed.capacity(),
        };
        if done {
            return Ok(packed);
        }
        packed.reserve(block.len() / 4 + 4096);
    }
}

struct Job {
    block: Vec<u8>,
    dictionary: Vec<u8>,
    reply: SyncSender<Packed>,
}

/// Compressor threads; they end when the pool is dropped.
struct Pool {
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    fn start(count: usize, level: Compression) -> Self {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let work = move |queue: Arc<Mutex<Receiver<Job>>>| loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            let packed = pack(level, &job.block, &job.dictionary, FlushCompress::Sync);
            // The writer gave up on an error: nobody waits for this block.
            let _ = job.reply.send(packed);
        };
        let workers = (0..count)
            .map_while(|_| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new()
                    .name("layer-gzip".to_owned())
                    .spawn(move || work(queue))
                    .ok()
            })
            .collect();
        Self {
            jobs: Some(jobs),
            workers,
        }
    }

    fn submit(&self, block: Vec<u8>, dictionary: Vec<u8>) -> io::Result<Receiver<Packed>> {
        if self.workers.is_empty() {
            return Err(io::Error::other("no compressor thread could be started"));
        }
        let (reply, packed) = sync_channel(1);
        let job = Job {
            block,
            dictionary,
            reply,
        };
        let jobs = self.jobs.as_ref().expect("only dropping takes the sender");
        jobs.send(job)
            .map_err(|_| io::Error::other("all compressor threads died"))?;
        Ok(packed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // A panic there was reported as a missing block.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
#[path = "gzip/tests.rs"]
mod tests;
