//! Memory does not grow with what passes through: blobs much larger than the
//! bound are pushed, pulled by HTTP, and pulled by the engine.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write},
    net::TcpStream,
    path::Path,
};

use oci::{Digest, layer::Compression};
use sha2::{Digest as _, Sha256};

use crate::harness::{Carrack, Layer, PATIENCE, busybox, push_image, run};

/// Bytes of each blob.
const BLOB_BYTES: u64 = 512 << 20;
/// By how much the peak of a process may exceed what it used before, in KiB.
const GROWTH_KIB_MAX: u64 = 32 << 10;

/// A field of `/proc/<pid>/status` in KiB.
fn kib(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = value.unwrap().split_whitespace().next().unwrap();
    value.parse().unwrap()
}

/// By how much a process grew at its peak since this was made.
struct Peak {
    what: &'static str,
    pid: u32,
    before: u64,
}

impl Peak {
    fn of(server: &Carrack, what: &'static str) -> Self {
        let pid = server.child_pid(what);
        // proc_pid_clear_refs(5): 5 sets the peak to what is used now.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let before = kib(pid, "VmRSS");
        Self { what, pid, before }
    }

    #[track_caller]
    fn check(&self, during: &str) {
        let peak = kib(self.pid, "VmHWM");
        let growth = peak.saturating_sub(self.before);
        println!(
            "{during}: {} {} KiB, peak {peak} KiB",
            self.what, self.before
        );
        assert!(
            growth <= GROWTH_KIB_MAX,
            "{during}: the {} grew from {} to {peak} KiB",
            self.what,
            self.before
        );
    }
}

/// Bytes that do not repeat (xorshift64), `index` telling one blob from another.
fn noise(index: u64) -> impl io::Read {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ index;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    Source(move |buffer: &mut [u8]| {
        for bytes in buffer.chunks_mut(8) {
            bytes.copy_from_slice(&next().to_le_bytes()[..bytes.len()]);
        }
    })
}

/// An endless stream that a closure fills.
struct Source<F>(F);

impl<F: FnMut(&mut [u8])> io::Read for Source<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.0)(buffer);
        Ok(buffer.len())
    }
}

/// Writes and hashes at once.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn digest_of(hash: Sha256) -> Digest {
    format!("sha256:{}", hex::encode(hash.finalize()))
        .parse()
        .unwrap()
}

/// PUTs a file as a blob, as one request.
fn push_file(server: &Carrack, repository: &str, path: &Path, digest: &Digest) {
    let team = server.api().registry(repository);
    let target = team.begin_upload(digest);
    let mut file = File::open(path).unwrap();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: {}\r\n\
         content-length: {}\r\n\r\n",
        server.address(),
        team.bearer(),
        file.metadata().unwrap().len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    io::copy(&mut file, &mut stream).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

/// GETs a blob; returns its digest.
fn pull(server: &Carrack, repository: &str, digest: &Digest) -> Digest {
    let team = server.api().registry(repository);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let request = format!(
        "GET /v2/{repository}/blobs/{digest} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         authorization: {}\r\n\r\n",
        server.address(),
        team.bearer()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line != "\r\n" {
        line.clear();
        answer.read_line(&mut line).unwrap();
    }
    let mut hashing = Hashing {
        inner: io::sink(),
        hash: Sha256::new(),
    };
    let copied = io::copy(&mut answer, &mut hashing).unwrap();
    assert_eq!(copied, BLOB_BYTES);
    digest_of(hashing.hash)
}

#[test]
fn the_front_does_not_grow_with_the_blobs_it_passes() {
    let server = Carrack::registry();
    let path = server.site.dir.join("blob");
    let mut hashing = Hashing {
        inner: File::create(&path).unwrap(),
        hash: Sha256::new(),
    };
    io::copy(&mut noise(1).take(BLOB_BYTES), &mut hashing).unwrap();
    let digest = digest_of(hashing.hash);
    // What any request needs, it has needed once.
    server.api().registry("team/big").push_blob(b"small");

    let peak = Peak::of(&server, "front");
    push_file(&server, "team/big", &path, &digest);
    peak.check("push");
    let peak = Peak::of(&server, "front");
    assert_eq!(pull(&server, "team/big", &digest), digest);
    peak.check("pull");
    // Four at once: each connection has a bound of its own.
    let peak = Peak::of(&server, "front");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(pull(&server, "team/big", &digest), digest));
        }
    });
    peak.check("four pulls");
}

/// A layer with one large file, made on the disk; its blob is pushed from there.
fn large_layer(server: &Carrack, name: &str, gzip: bool) -> Layer {
    use oci::layer::{Entry, EntryKind, LayerWriter, TarWriter};
    let path = server.site.dir.join(name);
    let entry = Entry {
        size_bytes: BLOB_BYTES,
        ..Entry::new(name, EntryKind::Regular, 0o644)
    };
    let out = Hashing {
        inner: BufWriter::new(File::create(&path).unwrap()),
        hash: Sha256::new(),
    };
    // Lines of text compress about tenfold; noise stays as large as it is.
    let lines: String = (0..40_000).map(|n| format!("line {n:>20}\n")).collect();
    let mut at = 0;
    let text = Source(move |buffer: &mut [u8]| {
        for byte in buffer {
            *byte = lines.as_bytes()[at % lines.len()];
            at += 1;
        }
    });
    let (out, diff_id) = if gzip {
        let writer = LayerWriter::new(out, Compression::GZIP).unwrap();
        let mut tar = TarWriter::new(writer);
        tar.append(&entry, &mut text.take(BLOB_BYTES)).unwrap();
        let (out, written) = tar.finish().unwrap().finish().unwrap();
        (out, Some(written.diff_id))
    } else {
        let mut tar = TarWriter::new(out);
        tar.append(&entry, &mut noise(2).take(BLOB_BYTES)).unwrap();
        (tar.finish().unwrap(), None)
    };
    drop(out.inner.into_inner().unwrap());
    let digest = digest_of(out.hash);
    push_file(server, "team/big", &path, &digest);
    let size = fs::metadata(&path).unwrap().len();
    fs::remove_file(path).unwrap();
    let kind = if gzip { "+gzip" } else { "" };
    Layer::pushed(diff_id.unwrap_or(digest), digest, size, kind)
}

#[test]
fn the_engine_does_not_grow_with_the_layers_it_pulls() {
    let server = Carrack::start();
    let small = push_image(&server, "team/small:1", &[busybox()]);
    run(&mut server.docker(&["pull", "-q", &small]));
    for (name, gzip) in [("noise", false), ("text", true)] {
        let layer = large_layer(&server, name, gzip);
        let image = push_image(&server, &format!("team/big:{name}"), &[busybox(), layer]);
        let peaks = [Peak::of(&server, "engine"), Peak::of(&server, "front")];
        run(&mut server.docker(&["pull", "-q", &image]));
        for peak in peaks {
            peak.check(name);
        }
        let path = format!("/{name}");
        let size = run(&mut server.docker(&["run", "--rm", &image, "stat", "-c", "%s", &path]));
        assert_eq!(size, BLOB_BYTES.to_string());
        run(&mut server.docker(&["rmi", &image]));
    }
}
