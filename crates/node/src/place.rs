//! Files and directories that the node makes: closed to other users, and never outside the directory
//! to which they belong, whatever name an object of the API has.
//!
//! The store refuses names that are not file names. What is built here must not depend on that, since
//! a node may also run on the API server of somebody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// Longest file name of the usual file systems, in bytes.
const LONGEST_NAME: usize = 255;

/// Joins a relative path of a manifest to `base`; `None` when it would leave it or is empty.
pub(crate) fn join_inside(base: &Path, relative: &str) -> Option<PathBuf> {
    let mut parts = Path::new(relative).components().peekable();
    let named = parts.peek().is_some() && !relative.contains('\0');
    let plain = parts.all(|part| matches!(part, Component::Normal(_)));
    (named && plain).then(|| base.join(relative))
}

/// Joins a name to `base`; `None` when it is not the name of one file.
pub(crate) fn entry(base: &Path, name: &str) -> Option<PathBuf> {
    let plain = name.len() <= LONGEST_NAME && !name.contains('/');
    plain.then(|| join_inside(base, name)).flatten()
}

/// Makes a directory that only this user may enter, and those above it.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Whether [`walk`] makes what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Make,
    Refuse,
}

/// Follows a relative path below `base` part by part and makes the directories that are missing. A
/// link on the way may point to another place below `base`, but not out of it.
pub(crate) fn walk(base: &Path, relative: &Path, missing: Missing) -> io::Result<PathBuf> {
    let leaves = || io::Error::other(format!("path {relative:?} leaves the volume"));
    let root = base.canonicalize()?;
    let mut at = base.to_owned();
    for part in relative.components() {
        let Component::Normal(part) = part else {
            return Err(leaves());
        };
        at.push(part);
        match at.canonicalize() {
            Ok(real) if real.starts_with(&root) => {}
            Ok(_) => return Err(leaves()),
            // A link to nothing: what is made behind it would be somewhere else.
            Err(error) if error.kind() == ErrorKind::NotFound && at.is_symlink() => {
                return Err(leaves());
            }
            Err(error) if error.kind() == ErrorKind::NotFound && missing == Missing::Make => {
                fs::DirBuilder::new().mode(0o700).create(&at)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

/// Writes a file at a relative path below `base`, in place of what was there.
pub(crate) fn write(base: &Path, relative: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let leaves = || io::Error::other(format!("path {relative:?} leaves the volume"));
    let path = join_inside(base, relative).ok_or_else(leaves)?;
    let name = path.file_name().ok_or_else(leaves)?;
    let above = Path::new(relative).parent().ok_or_else(leaves)?;
    let path = walk(base, above, Missing::Make)?.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // It must be new: nothing is written through a link.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)
}

/// Opens a log to write at its end.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// The mode of a file in a volume. Local rule: a mode of a manifest counts for the owner only, so
/// that the files of a pod stay closed to the other users of this machine; the owner can always read.
pub(crate) fn owner_mode(mode: Option<u64>) -> u32 {
    let owner = u32::try_from(mode.unwrap_or(0o600) & 0o700).unwrap_or(0o600);
    owner | 0o400
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn relative_paths_stay_inside() {
        let base = Path::new("/v");
        assert_eq!(join_inside(base, "a/b"), Some("/v/a/b".into()));
        for bad in [
            "../x",
            "/etc/passwd",
            "a/../../x",
            "",
            ".",
            "..",
            "./a",
            "a\0b",
        ] {
            assert_eq!(join_inside(base, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_one_file() {
        let base = Path::new("/v");
        assert_eq!(entry(base, "a.log"), Some("/v/a.log".into()));
        let long = "x".repeat(LONGEST_NAME + 1);
        for bad in ["/tmp/x.log", "../x.log", "a/b", "", ".", "..", "a\0", &long] {
            assert_eq!(entry(base, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nothing_is_made_behind_a_link_that_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (base, other) = (dir.path().join("base"), dir.path().join("other"));
        make_dir(&base.join("in")).unwrap();
        make_dir(&other).unwrap();
        symlink(&other, base.join("out")).unwrap();
        symlink(dir.path().join("nowhere"), base.join("dangling")).unwrap();
        symlink("in", base.join("within")).unwrap();
        for path in [
            "out/new",
            "out",
            "dangling",
            "dangling/new",
            "../other",
            "/other",
        ] {
            let walked = walk(&base, Path::new(path), Missing::Make);
            assert!(walked.is_err(), "{path} {walked:?}");
            let written = write(&base, &format!("{path}/f"), b"x", 0o600);
            assert!(written.is_err(), "{path} {written:?}");
        }
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
        assert!(!dir.path().join("nowhere").exists());
        walk(&base, Path::new("within/new"), Missing::Make).unwrap();
        assert!(base.join("in/new").is_dir());
        let absent = walk(&base, Path::new("in/absent"), Missing::Refuse);
        assert_eq!(absent.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn files_are_the_owners_and_never_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        make_dir(&base).unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "kept").unwrap();
        symlink(&other, base.join("f")).unwrap();
        let mode = |path: &str| fs::metadata(base.join(path)).unwrap().permissions().mode() & 0o777;
        for (given, wanted) in [
            (None, 0o600),
            (Some(0o644), 0o600),
            (Some(0o440), 0o400),
            (Some(0o755), 0o700),
            (Some(0o007), 0o400),
            (Some(u64::MAX), 0o700),
        ] {
            write(&base, "f", b"new", owner_mode(given)).unwrap();
            assert_eq!(mode("f"), wanted, "{given:?}");
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
        write(&base, "a/b", b"new", 0o600).unwrap();
        assert_eq!(mode("a"), 0o700);
        drop(open_log(&base.join("c.log")).unwrap());
        assert_eq!(mode("c.log"), 0o600);
    }
}
