//! Objects as files on a local disk: `blobs/<first two digits>/<key>`.
//!
//! A new file's name is durable only after its directory was synced. Instead of
//! syncing it for every blob, empty files are made in reserve, sixteen at a
//! time, with one sync for all; an upload takes one and needs only its own
//! `fdatasync`. Reserve files of an earlier run are orphans like any other.
//!
//! A failed sync is not repeated: the kernel may have dropped the pages it
//! could not write, so a second sync can succeed without them (fsync(2), and
//! PostgreSQL's experience of 2018). The store then refuses to write at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};

use super::{BlobStore, Lease, Leases, ObjectKey, ObjectReader, ObjectWriter, StoreError};

/// Files made at a time: one directory sync for so many uploads.
const RESERVE: usize = 16;
/// Extended attribute that holds an object's seal.
const SEAL: &str = "user.carrack.seal";
/// Largest seal that is read: ext4 keeps no larger attribute, in bytes.
const SEAL_BYTES_MAX: usize = 4096;
/// Written bytes after which the kernel is told to begin writing them out, so that
/// the sync at the end of a large blob finds little left to do.
const WRITE_OUT_BYTES: u64 = 16 * 1024 * 1024;
/// Slices per vectored write (IOV_MAX is 1024).
const SLICES_MAX: usize = 256;

/// A directory of objects.
#[derive(Debug)]
pub(crate) struct DiskStore {
    root: PathBuf,
    reserve: Mutex<Vec<ObjectKey>>,
    leases: Arc<Leases>,
    broken: Arc<AtomicBool>,
}

impl DiskStore {
    /// Opens `root`, making it and its 256 subdirectories durable when new.
    ///
    /// # Errors
    /// When the directory cannot be made, read or synced.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        // Whoever makes a directory makes its name durable; a parent that holds
        // a directory which is there already may be closed to us.
        if !root.is_dir() {
            fs::create_dir_all(root).map_err(StoreError::from_io)?;
            if let Some(parent) = root.parent() {
                sync_dir(parent)?;
            }
        }
        let last = root.join("ff");
        if !last.is_dir() {
            for n in 0..=255u8 {
                match fs::create_dir(root.join(format!("{n:02x}"))) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(StoreError::from_io(error));
                    }
                    _ => {}
                }
            }
            sync_dir(root)?;
        }
        Ok(Self {
            root: root.to_owned(),
            reserve: Mutex::default(),
            leases: Arc::default(),
            broken: Arc::default(),
        })
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(&key.as_str()[..2]).join(key.as_str())
    }

    fn reserve(&self) -> std::sync::MutexGuard<'_, Vec<ObjectKey>> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes empty files in one directory and their names durable.
    fn refill(&self, reserve: &mut Vec<ObjectKey>) -> Result<(), StoreError> {
        let directory = ObjectKey::random().as_str()[..2].to_owned();
        for _ in 0..RESERVE {
            let random = ObjectKey::random();
            let key = ObjectKey::parse(&format!("{directory}{}", &random.as_str()[2..]))
                .expect("two hex digits and thirty more make a key");
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(self.path(&key))
                .map_err(StoreError::from_io)?;
            reserve.push(key);
        }
        sync_dir(&self.root.join(directory))
    }

    fn writer(&self, key: &ObjectKey, offset_bytes: u64) -> Result<DiskWriter, StoreError> {
        let file = OpenOptions::new()
            .write(true)
            .open(self.path(key))
            .map_err(|error| missing(key, error))?;
        Ok(DiskWriter {
            file,
            offset_bytes,
            pending_from: offset_bytes,
            broken: Arc::clone(&self.broken),
        })
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        match self.is_writable() {
            true => Ok(()),
            false => Err(StoreError::Broken),
        }
    }
}

impl BlobStore for DiskStore {
    fn create(&self) -> Result<(Lease, Box<dyn ObjectWriter>), StoreError> {
        self.check_writable()?;
        let lease = {
            let mut reserve = self.reserve();
            if reserve.is_empty() {
                self.refill(&mut reserve)?;
            }
            let key = reserve.pop().expect("refill adds keys or fails");
            // Leased before the reserve is unlocked, so the sweeper never sees it as neither.
            self.leases.hold(key)
        };
        let writer = self.writer(lease.key(), 0)?;
        Ok((lease, Box::new(writer)))
    }

    fn resume(
        &self,
        lease: &Lease,
        offset_bytes: u64,
    ) -> Result<Box<dyn ObjectWriter>, StoreError> {
        self.check_writable()?;
        let writer = self.writer(lease.key(), offset_bytes)?;
        let length = writer.file.metadata().map_err(StoreError::from_io)?.len();
        if length < offset_bytes {
            return Err(StoreError::Missing(lease.key().to_string()));
        }
        if length > offset_bytes {
            writer
                .file
                .set_len(offset_bytes)
                .map_err(StoreError::from_io)?;
        }
        Ok(Box::new(writer))
    }

    fn open(&self, key: &ObjectKey) -> Result<Arc<dyn ObjectReader>, StoreError> {
        let file = File::open(self.path(key)).map_err(|error| missing(key, error))?;
        Ok(Arc::new(DiskReader { file }))
    }

    fn seal_of(&self, key: &ObjectKey) -> Result<Option<Vec<u8>>, StoreError> {
        let file = File::open(self.path(key)).map_err(|error| missing(key, error))?;
        let mut record = vec![0; SEAL_BYTES_MAX];
        match rustix::fs::fgetxattr(&file, SEAL, record.as_mut_slice()) {
            Ok(count) => {
                record.truncate(count);
                Ok(Some(record))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
            Err(error) => Err(StoreError::from_io(error.into())),
        }
    }

    fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::from_io(error))
            }
            _ => Ok(()),
        }
    }

    fn recycle(&self, lease: Lease) {
        let is_empty = fs::metadata(self.path(lease.key())).is_ok_and(|found| found.len() == 0);
        let mut reserve = self.reserve();
        if is_empty && reserve.len() < RESERVE * 2 {
            reserve.push(lease.key().clone());
        } else if let Err(error) = self.remove(lease.key()) {
            // The sweeper will find it.
            tracing::debug!(%error, "an unused object stays");
        }
    }

    fn each_key(&self, visit: &mut dyn FnMut(ObjectKey)) -> Result<(), StoreError> {
        for n in 0..=255u8 {
            let directory = self.root.join(format!("{n:02x}"));
            for entry in fs::read_dir(directory).map_err(StoreError::from_io)? {
                let name = entry.map_err(StoreError::from_io)?.file_name();
                if let Some(key) = name.to_str().and_then(ObjectKey::parse)
                    && !self.reserve().contains(&key)
                {
                    visit(key);
                }
            }
        }
        Ok(())
    }

    fn claim(&self, key: &ObjectKey) -> Option<Lease> {
        // Keys enter and leave the reserve under its lock and with a lease.
        let reserve = self.reserve();
        match reserve.contains(key) {
            true => None,
            false => self.leases.claim(key),
        }
    }

    fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    fn is_writable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
    }
}

impl Drop for DiskStore {
    /// An orderly stop leaves no reserve behind; after a crash the sweeper does it.
    fn drop(&mut self) {
        let keys = std::mem::take(&mut *self.reserve());
        for key in keys {
            drop(self.remove(&key));
        }
    }
}

struct DiskWriter {
    file: File,
    offset_bytes: u64,
    /// Where the part begins that the kernel was not yet told to write out.
    pending_from: u64,
    broken: Arc<AtomicBool>,
}

impl ObjectWriter for DiskWriter {
    fn write(&mut self, chunks: &[Bytes]) -> Result<(), StoreError> {
        for group in chunks.chunks(SLICES_MAX) {
            let mut slices: Vec<IoSlice<'_>> = group.iter().map(|c| IoSlice::new(c)).collect();
            let mut slices = slices.as_mut_slice();
            IoSlice::advance_slices(&mut slices, 0);
            while !slices.is_empty() {
                match rustix::io::pwritev(&self.file, slices, self.offset_bytes) {
                    Ok(0) => return Err(StoreError::Io(io::ErrorKind::WriteZero.into())),
                    Ok(count) => {
                        self.offset_bytes += count as u64;
                        IoSlice::advance_slices(&mut slices, count);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(StoreError::from_io(error.into())),
                }
            }
        }
        self.write_out();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let result = self.file.sync_data();
        self.synced(result)
    }

    fn seal(&mut self, record: &[u8]) -> Result<bool, StoreError> {
        let flags = rustix::fs::XattrFlags::empty();
        match rustix::fs::fsetxattr(&self.file, SEAL, record, flags) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::TOOBIG | Errno::RANGE) => return Ok(false),
            Err(error) => return Err(StoreError::from_io(error.into())),
        }
        // fdatasync may leave attributes out.
        let result = self.file.sync_all();
        self.synced(result).map(|()| true)
    }
}

impl DiskWriter {
    /// POSIX_FADV_DONTNEED starts the writing of dirty pages and keeps them
    /// (posix_fadvise(2), notes). Only advice, so its failure changes nothing.
    fn write_out(&mut self) {
        let length = self.offset_bytes - self.pending_from;
        if length >= WRITE_OUT_BYTES {
            let length = std::num::NonZeroU64::new(length);
            let advice = rustix::fs::Advice::DontNeed;
            let from = self.pending_from;
            if let Err(error) = rustix::fs::fadvise(&self.file, from, length, advice) {
                tracing::debug!(%error, "the kernel takes no advice on this file system");
            }
            self.pending_from = self.offset_bytes;
        }
    }

    fn synced(&self, result: io::Result<()>) -> Result<(), StoreError> {
        result.map_err(|error| match StoreError::from_io(error) {
            StoreError::Full => StoreError::Full,
            error => {
                tracing::error!(%error, "syncing a blob failed; uploads stop");
                self.broken.store(true, Ordering::Relaxed);
                StoreError::Broken
            }
        })
    }
}

#[derive(Debug)]
struct DiskReader {
    file: File,
}

impl ObjectReader for DiskReader {
    fn size_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.file.metadata().map_err(StoreError::from_io)?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<usize, StoreError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset_bytes + filled as u64;
            match self.file.read_at(&mut buffer[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::from_io(error)),
            }
        }
        Ok(filled)
    }

    fn read_cached(&self, buffer: &mut [u8], offset_bytes: u64) -> usize {
        let mut slices = [io::IoSliceMut::new(buffer)];
        rustix::io::preadv2(
            &self.file,
            &mut slices,
            offset_bytes,
            ReadWriteFlags::NOWAIT,
        )
        .unwrap_or(0)
    }
}

fn missing(key: &ObjectKey, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing(key.to_string()),
        _ => StoreError::from_io(error),
    }
}

fn sync_dir(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(StoreError::from_io)
}
