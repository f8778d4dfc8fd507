//! SIGKILL during concurrent pushes: what was acknowledged is there, byte for
//! byte, what is visible besides is whole, and no file lies there unnamed.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use oci::{
    Algorithm, Descriptor, Digest, MediaType, Reference,
    client::{BlobBytes, BlobSource, Client, ClientConfig, ClientError, Credentials, Patience},
};
use serde_json::json;

use crate::harness::{Carrack, PASSWORD, Site, run, signal, wait_for};

const KILLS: usize = 30;
const PUSHERS: usize = 8;

/// Deterministic noise, so that a failure can be run again from its seed.
#[derive(Clone)]
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self, length: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes.into()
    }
}

/// One image that was pushed, or tried to be.
#[derive(Clone, Debug)]
struct Image {
    reference: Reference,
    manifest: Bytes,
    blobs: Vec<Descriptor>,
}

/// What the registry said yes to, and everything that was tried.
#[derive(Default)]
struct Ledger {
    tried: Mutex<Vec<Image>>,
    blobs: Mutex<Vec<(Reference, Descriptor)>>,
    images: Mutex<Vec<Image>>,
    acknowledged: AtomicUsize,
    /// Blobs of which a part was sent and no answer has come yet.
    under_way: AtomicUsize,
    /// Blobs that ended without an answer after a part was sent.
    cut: AtomicUsize,
    stop: AtomicBool,
}

/// Counts a blob as under way from its first chunk on.
struct UnderWay<'a> {
    ledger: &'a Ledger,
    begun: Arc<AtomicBool>,
    answered: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.begun.load(Ordering::SeqCst) {
            self.ledger.under_way.fetch_sub(1, Ordering::SeqCst);
            if !self.answered {
                self.ledger.cut.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// A blob in pieces; the first one that is taken counts it as under way.
struct Watched {
    bytes: Bytes,
    begun: Arc<AtomicBool>,
    ledger: Arc<Ledger>,
}

impl Watched {
    fn chunks(&self) -> BlobBytes {
        let chunks: Vec<_> = self
            .bytes
            .chunks(100_000)
            .map(|c| Ok(self.bytes.slice_ref(c)))
            .collect();
        let (begun, ledger) = (Arc::clone(&self.begun), Arc::clone(&self.ledger));
        stream::iter(chunks)
            .inspect(move |_| {
                if !begun.swap(true, Ordering::SeqCst) {
                    ledger.under_way.fetch_add(1, Ordering::SeqCst);
                }
            })
            .boxed()
    }
}

impl BlobSource for Watched {
    fn open(&self, offset_bytes: u64) -> BoxFuture<'_, std::io::Result<BlobBytes>> {
        assert_eq!(offset_bytes, 0, "pushers give up at once");
        async { Ok(self.chunks()) }.boxed()
    }
}

fn credentials() -> Credentials {
    Credentials::Basic {
        user: "admin".to_owned(),
        password: PASSWORD.to_owned(),
    }
}

fn descriptor(media_type: &str, bytes: &Bytes) -> Descriptor {
    Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
}

/// Pushes images until told to stop; a failed push is given up and the next begun.
async fn push_until_stopped(ledger: Arc<Ledger>, client: Client, address: String, pusher: usize) {
    let mut noise = Noise(pusher as u64);
    let mut number = 0;
    while !ledger.stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("{address}/kill/p{}:{pusher}-{number}", pusher % 3);
        let reference: Reference = name.parse().unwrap();
        if push(&ledger, &client, &reference, &mut noise)
            .await
            .is_err()
        {
            // The server is down: wait for it by asking, as a client would.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn push(
    ledger: &Arc<Ledger>,
    client: &Client,
    reference: &Reference,
    noise: &mut Noise,
) -> Result<(), ClientError> {
    let config = noise.bytes(300);
    // Some in the row, some in an object, some large enough to be killed within.
    let length = match noise.below(4) {
        0 => noise.below(60_000),
        1 | 2 => 70_000 + noise.below(400_000),
        _ => 1_000_000 + noise.below(6_000_000),
    };
    let layer = noise.bytes(length as usize);
    let blobs = vec![
        descriptor(MediaType::OCI_CONFIG, &config),
        descriptor(MediaType::OCI_LAYER_TAR, &layer),
    ];
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": &blobs[0],
        "layers": [&blobs[1]],
    });
    let image = Image {
        reference: reference.clone(),
        manifest: manifest.to_string().into(),
        blobs,
    };
    ledger.tried.lock().unwrap().push(image.clone());
    for (blob, bytes) in image.blobs.iter().zip([config, layer]) {
        let begun = Arc::new(AtomicBool::new(false));
        let mut blob_under_way = UnderWay {
            ledger,
            begun: Arc::clone(&begun),
            answered: false,
        };
        let body = Watched {
            bytes,
            begun,
            ledger: Arc::clone(ledger),
        };
        let login = credentials();
        match noise.below(2) {
            0 => {
                let body = body.chunks();
                let (digest, _) = client
                    .push_blob_streamed(reference, Algorithm::Sha256, body, &login)
                    .await?;
                assert_eq!(digest, blob.digest);
            }
            _ => {
                client
                    .push_blob(reference, &blob.digest, blob.size, &body, &login)
                    .await?;
            }
        }
        blob_under_way.answered = true;
        drop(blob_under_way);
        let acknowledged = (reference.clone(), blob.clone());
        ledger.blobs.lock().unwrap().push(acknowledged);
        ledger.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    let media_type = MediaType::from(MediaType::OCI_MANIFEST);
    client
        .push_manifest(
            reference,
            &media_type,
            image.manifest.clone(),
            &credentials(),
        )
        .await?;
    ledger.images.lock().unwrap().push(image);
    ledger.acknowledged.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Everything acknowledged can be read and is the same; everything else that is
/// visible is whole.
async fn check(ledger: &Ledger, client: &Client) -> (usize, usize) {
    let login = credentials();
    let blobs = ledger.blobs.lock().unwrap().clone();
    for (reference, blob) in &blobs {
        let stream = client.blob(reference, blob, &login).await;
        let stream = stream.unwrap_or_else(|e| panic!("{reference}: acknowledged blob: {e}"));
        // Verified against digest and size by the client.
        stream
            .collect()
            .await
            .unwrap_or_else(|e| panic!("{reference}: acknowledged blob: {e}"));
    }
    let images = ledger.images.lock().unwrap().clone();
    let acknowledged: BTreeSet<_> = images.iter().map(|i| i.reference.clone()).collect();
    for image in &images {
        let (_, bytes) = client.manifest(&image.reference, &login).await.unwrap();
        assert_eq!(bytes, image.manifest, "{}", image.reference);
    }
    let tried = ledger.tried.lock().unwrap().clone();
    // A blob that nobody was promised is absent or whole, never a part.
    let promised: BTreeSet<_> = blobs
        .iter()
        .map(|(reference, blob)| (reference, blob.digest.to_string()))
        .collect();
    for image in &tried {
        let key = |blob: &Descriptor| (&image.reference, blob.digest.to_string());
        for blob in image.blobs.iter().filter(|b| !promised.contains(&key(b))) {
            match client.blob(&image.reference, blob, &login).await {
                Err(error) if error.is_not_found() => {}
                Err(error) => panic!("{}: {error}", image.reference),
                Ok(stream) => {
                    stream.collect().await.unwrap();
                }
            }
        }
    }
    let mut unacknowledged = 0;
    for image in tried
        .iter()
        .filter(|i| !acknowledged.contains(&i.reference))
    {
        match client.manifest(&image.reference, &login).await {
            Err(error) if error.is_not_found() => {}
            Err(error) => panic!("{}: {error}", image.reference),
            Ok((_, bytes)) => {
                // Committed, and killed before the answer: whole or a lie.
                unacknowledged += 1;
                assert_eq!(bytes, image.manifest);
                for blob in &image.blobs {
                    let stream = client.blob(&image.reference, blob, &login).await.unwrap();
                    stream.collect().await.unwrap();
                }
            }
        }
    }
    (blobs.len() + images.len(), unacknowledged)
}

/// Files that hold bytes, by their keys.
fn objects(site: &Site) -> BTreeSet<String> {
    let shards = fs::read_dir(site.data_dir().join("registry/blobs")).unwrap();
    let files = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
    files
        .map(|file| file.unwrap())
        .filter(|file| file.metadata().unwrap().len() > 0)
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Keys that the database names: those of blobs, and those of uploads that a
/// client may still resume.
fn named(site: &Site) -> BTreeSet<String> {
    let query = "SELECT object_key FROM blobs WHERE object_key IS NOT NULL \
                 UNION SELECT object_key FROM uploads";
    let database = site.data_dir().join("registry/registry.db");
    let keys = run(Command::new("sqlite3")
        .arg("-readonly")
        .arg(database)
        .arg(query));
    keys.lines().map(ToOwned::to_owned).collect()
}

/// Starts the server once more; what no row names then has to go.
fn expect_no_orphans(server: &mut Carrack) {
    assert!(server.stop());
    server.restart();
    wait_for("the removal of what is unnamed", || {
        objects(&server.site)
            .is_subset(&named(&server.site))
            .then_some(())
    });
}

#[test]
fn thirty_kills_during_concurrent_pushes_lose_nothing() {
    let mut server = Carrack::start_with(Site::new(), &["--role", "registry"]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let client = Client::new(ClientConfig::default()).unwrap();
    // What is cut must stay cut: pushers are told at once.
    let hasty = Client::new(ClientConfig {
        patience: Patience::NONE,
        ..ClientConfig::default()
    })
    .unwrap();
    let ledger = Arc::new(Ledger::default());
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|pusher| {
            let address = server.address().to_owned();
            let work = push_until_stopped(Arc::clone(&ledger), hasty.clone(), address, pusher);
            runtime.spawn(work)
        })
        .collect();
    let mut noise = Noise(0xca44_ac00);
    let mut within = 0;
    for kill in 0..KILLS {
        // After a few answers, then at any moment of what is under way.
        let seen = ledger.acknowledged.load(Ordering::Relaxed);
        let more = noise.below(12) as usize;
        wait_for("further acknowledged pushes", || {
            (ledger.acknowledged.load(Ordering::Relaxed) > seen + more).then_some(())
        });
        std::thread::sleep(Duration::from_micros(noise.below(30_000)));
        within += usize::from(ledger.under_way.load(Ordering::SeqCst) > 0);
        if kill % 5 == 4 {
            server.kill();
            server.restart();
        } else {
            // The supervisor starts it again.
            signal(server.child_pid("front"), "KILL");
        }
        if kill % 10 == 9 && kill + 1 < KILLS {
            runtime.block_on(check(&ledger, &client));
        }
    }
    ledger.stop.store(true, Ordering::Relaxed);
    for pusher in pushers {
        runtime.block_on(pusher).unwrap();
    }
    let (acknowledged, unacknowledged) = runtime.block_on(check(&ledger, &client));
    expect_no_orphans(&mut server);
    let cut = ledger.cut.load(Ordering::SeqCst);
    println!(
        "{KILLS} kills, {within} within a push: {acknowledged} acknowledged, all there; \
         {cut} cut; {unacknowledged} committed unheard"
    );
    assert!(within >= KILLS / 2, "only {within} kills hit a push");
    assert!(cut >= KILLS, "only {cut} pushes were cut");
    assert!(
        acknowledged > KILLS * 3,
        "only {acknowledged} pushes were acknowledged"
    );
}
