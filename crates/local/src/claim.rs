//! What one instance holds alone: its data directory, by a lock, and a block of loopback addresses,
//! by an abstract socket. Both are released by the kernel when the process ends, however it ends.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// First second byte of the loopback blocks that instances share out.
pub const FIRST_BLOCK: u8 = 64;
/// Last second byte of the loopback blocks that instances share out.
pub const LAST_BLOCK: u8 = 127;

/// Why an instance cannot have what it needs alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory cannot be made or its lock file not opened.
    #[error("cannot use data directory {path:?}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Another instance runs on the directory.
    #[error(
        "data directory {path:?} is in use by the instance with pid {pid}; stop that one or give another --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Process id of the holder, as it wrote it.
        pid: String,
    },
    /// The directory holds other things and others may read it.
    #[error(
        "{path:?} is not a data directory of weir and others may read it; give --data-dir a new directory, or chmod 700 it"
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
    },
    /// All address blocks are taken.
    #[error(
        "all 64 loopback blocks 127.64.0.0/16 to 127.127.0.0/16 are in use by other instances; stop one"
    )]
    NoBlock,
    /// No home directory to put the state under.
    #[error("neither XDG_STATE_HOME nor HOME is set; give --data-dir")]
    NoHome,
}

/// A data directory that no other instance uses; released when dropped.
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<fs::File>,
}

impl DataDir {
    /// Makes the directory (mode 0700) and takes its lock.
    ///
    /// # Errors
    /// When the directory cannot be used, or another instance holds it.
    pub fn claim(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Directory {
            path: path.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let metadata = fs::metadata(&path).map_err(failed)?;
        if metadata.mode() & 0o077 != 0 {
            let empty = fs::read_dir(&path).map_err(failed)?.next().is_none();
            if !empty && !path.join("lock").exists() {
                return Err(Error::NotPrivate { path });
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)
                    .and_then(|()| lock.rewind())
                    .and_then(|()| writeln!(lock, "{}", std::process::id()))
                    .map_err(failed)?;
                Ok(Self { path, _lock: lock })
            }
            Err((mut file, _)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                Err(Error::InUse {
                    path,
                    pid: pid.trim().to_owned(),
                })
            }
        }
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns the default data directory of an instance that listens on `port`.
///
/// # Errors
/// When no home directory is known.
pub fn default_data_dir(port: u16) -> Result<PathBuf, Error> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .ok_or(Error::NoHome)?;
    Ok(state.join("weir").join(port.to_string()))
}

/// A block 127.A.0.0/16 that no other instance on this machine uses; released when dropped.
pub struct AddressBlock {
    second_byte: u8,
    _socket: UnixListener,
}

impl AddressBlock {
    /// Takes the first free block.
    ///
    /// # Errors
    /// When all are taken.
    pub fn claim() -> Result<Self, Error> {
        (FIRST_BLOCK..=LAST_BLOCK)
            .find_map(|second_byte| {
                let name = format!("weir-block-127.{second_byte}");
                let address = SocketAddr::from_abstract_name(name).ok()?;
                let socket = UnixListener::bind_addr(&address).ok()?;
                Some(Self {
                    second_byte,
                    _socket: socket,
                })
            })
            .ok_or(Error::NoBlock)
    }

    /// The A of 127.A.0.0/16.
    pub fn second_byte(&self) -> u8 {
        self.second_byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_claim_names_the_first_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::claim(&dir.path().join("d")).unwrap();
        let Err(error) = DataDir::claim(held.path()) else {
            panic!("claimed twice")
        };
        assert!(
            error
                .to_string()
                .contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
        drop(held);
        DataDir::claim(&dir.path().join("d")).unwrap();
    }

    #[test]
    fn what_others_may_read_is_closed_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        drop(DataDir::claim(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let foreign = dir.path().join("f");
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(foreign.join("letter"), "mine").unwrap();
        assert!(matches!(
            DataDir::claim(&foreign),
            Err(Error::NotPrivate { .. })
        ));
        assert_eq!(fs::metadata(&foreign).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn two_instances_get_different_blocks() {
        let first = AddressBlock::claim().unwrap();
        let second = AddressBlock::claim().unwrap();
        assert_ne!(first.second_byte(), second.second_byte());
    }
}
