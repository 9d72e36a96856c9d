//! The file: one thread that commits all waiting writes at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch;

use super::{Key, Object};

const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// Pages of the file that stay in memory: it is read once, at the start, and then only written.
const CACHE_BYTES: usize = 4 << 20;

/// Most writes that one commit takes.
const BATCH: usize = 1_024;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database refuses.
    #[error("cannot use the object store file")]
    Database(#[source] Box<redb::Error>),
    /// A stored object is not JSON.
    #[error("object {key:?} in the store file is damaged")]
    Damaged {
        /// Name of the object.
        key: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The writer thread cannot be started.
    #[error("cannot start the store's writer thread")]
    Thread(#[source] std::io::Error),
    /// The writer stopped after an error of the disk.
    #[error("the object store stopped after a failed write; see the log")]
    Closed,
}

fn database(error: impl Into<redb::Error>) -> Error {
    Error::Database(Box::new(error.into()))
}

/// One write on its way to the disk.
pub(super) struct Write {
    pub(super) version: u64,
    pub(super) key: Key,
    /// None removes.
    pub(super) json: Option<Vec<u8>>,
}

/// What the file held.
pub(super) struct Loaded {
    pub(super) version: u64,
    pub(super) objects: Vec<(Key, Object)>,
}

/// The writer thread; it ends, and the file is closed, when this is dropped.
pub(super) struct Writer {
    queue: Mutex<Option<Sender<Write>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn open(
        path: &Path,
        committed: watch::Sender<u64>,
    ) -> Result<(Self, Loaded), Error> {
        let file = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(database)?;
        let transaction = file.begin_write().map_err(database)?;
        transaction.open_table(OBJECTS).map_err(database)?;
        transaction.open_table(NUMBERS).map_err(database)?;
        transaction.commit().map_err(database)?;
        let loaded = load(&file)?;
        committed.send_replace(loaded.version);
        let (queue, waiting) = channel();
        let thread = std::thread::Builder::new()
            .name("weir-store".to_owned())
            .spawn(move || run(&file, &waiting, &committed))
            .map_err(Error::Thread)?;
        let queue = Mutex::new(Some(queue));
        Ok((
            Self {
                queue,
                thread: Mutex::new(Some(thread)),
            },
            loaded,
        ))
    }

    /// Queues a write. The queue holds at most what the open requests write.
    pub(super) fn enqueue(&self, write: Write) {
        if let Some(queue) = &*self.queue.lock() {
            // A failure means that the thread ended; whoever waits for durability learns it.
            let _ = queue.send(write);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn load(file: &Database) -> Result<Loaded, Error> {
    let transaction = file.begin_read().map_err(database)?;
    let numbers = transaction.open_table(NUMBERS).map_err(database)?;
    let version = numbers
        .get("version")
        .map_err(database)?
        .map_or(0, |v| v.value());
    let table = transaction.open_table(OBJECTS).map_err(database)?;
    let mut objects = Vec::new();
    for entry in table.iter().map_err(database)? {
        let (name, json) = entry.map_err(database)?;
        let name = name.value();
        let mut parts = name.split('\n');
        let (Some(storage), Some(namespace), Some(object)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let key = Key {
            storage: Arc::from(storage),
            namespace: namespace.to_owned(),
            name: object.to_owned(),
        };
        let value: serde_json::Value =
            serde_json::from_slice(json.value()).map_err(|source| Error::Damaged {
                key: name.replace('\n', "/"),
                source,
            })?;
        let version = value
            .pointer("/metadata/resourceVersion")
            .and_then(|v| v.as_str())
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        objects.push((
            key,
            Object {
                value,
                version,
                size: json.value().len(),
            },
        ));
    }
    Ok(Loaded { version, objects })
}

fn run(file: &Database, waiting: &Receiver<Write>, committed: &watch::Sender<u64>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(BATCH - 1));
        match commit(file, &batch) {
            Ok(version) => {
                committed.send_replace(version);
            }
            Err(error) => {
                tracing::error!(%error, "Object store stopped: a commit failed");
                return;
            }
        }
    }
}

fn commit(file: &Database, batch: &[Write]) -> Result<u64, redb::Error> {
    let transaction = file.begin_write()?;
    let mut version = 0;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        for write in batch {
            let key = &write.key;
            let name = format!("{}\n{}\n{}", key.storage, key.namespace, key.name);
            match &write.json {
                Some(json) => {
                    objects.insert(name.as_str(), json.as_slice())?;
                }
                None => {
                    objects.remove(name.as_str())?;
                }
            }
            version = write.version;
        }
        numbers.insert("version", version)?;
    }
    transaction.commit()?;
    Ok(version)
}
