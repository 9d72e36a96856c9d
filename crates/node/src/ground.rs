//! Where the directories of pods are, and which of them no pod uses any more.

use std::collections::HashSet;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::place::{entry, make_dir};

/// Socket paths end at 107 bytes, so the directory above a pod's own must be short.
const LONGEST: usize = 40;

/// Returns the directory below which pods have theirs: in the data directory, or behind a link in
/// `runtime` where the data directory's path is long.
pub(crate) fn pods_dir(data_dir: &Path, runtime: Option<&Path>) -> PathBuf {
    let own = data_dir.join("v");
    let Some(runtime) = runtime.filter(|_| data_dir.as_os_str().len() > LONGEST) else {
        return own;
    };
    let mut hasher = std::hash::DefaultHasher::new();
    own.hash(&mut hasher);
    let link = runtime.join(format!("weir-{:08x}", hasher.finish() & 0xffff_ffff));
    let made = || -> std::io::Result<()> {
        make_dir(&own)?;
        match fs::read_link(&link) {
            Ok(target) if target == own => return Ok(()),
            Ok(_) => fs::remove_file(&link)?,
            Err(_) => {}
        }
        symlink(&own, &link)
    };
    match made() {
        Ok(()) => link,
        Err(error) => {
            tracing::debug!(link = %link.display(), %error, "No short link to the pods' directories");
            own
        }
    }
}

/// Removes the short link; the next start makes it again.
pub(crate) fn unlink(pods_dir: &Path) {
    if pods_dir.is_symlink()
        && let Err(error) = fs::remove_file(pods_dir)
    {
        tracing::debug!(link = %pods_dir.display(), %error, "Short link stays");
    }
}

/// The name of a pod's directory: eight hexadecimal digits, whatever the uid is.
pub(crate) fn short(uid: &str) -> String {
    let digits = |text: &str| -> String {
        let digits = text.chars().filter(char::is_ascii_hexdigit);
        digits.take(8).collect()
    };
    let own = digits(uid);
    if own.len() == 8 {
        return own;
    }
    let mut hasher = std::hash::DefaultHasher::new();
    uid.hash(&mut hasher);
    digits(&format!("{:016x}", hasher.finish()))
}

/// The directory of a pod's logs; its name is that of the store, unless it would leave `logs`.
pub(crate) fn logs_dir(data_dir: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    let logs = data_dir.join("logs");
    entry(&logs, &format!("{namespace}_{name}_{uid}")).unwrap_or_else(|| logs.join(short(uid)))
}

/// Removes directories and logs of pods that are not among `uids`: they were deleted while no node ran.
pub(crate) fn sweep(data_dir: &Path, uids: &HashSet<String>) {
    let shorts: HashSet<String> = uids.iter().map(|uid| short(uid)).collect();
    let entries = |name: &str| {
        fs::read_dir(data_dir.join(name))
            .into_iter()
            .flatten()
            .flatten()
    };
    let left = entries("v")
        .filter(|entry| {
            let name = entry.file_name();
            !name.to_str().is_some_and(|name| shorts.contains(name))
        })
        .chain(entries("logs").filter(|entry| {
            let name = entry.file_name();
            let uid = name.to_str().and_then(|name| name.rsplit('_').next());
            !uid.is_some_and(|uid| uids.contains(uid))
        }));
    for entry in left {
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(path = %entry.path().display(), %error, "Directory of a pod stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_reached_by_a_short_link() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("r");
        make_dir(&runtime).unwrap();
        let long = dir.path().join("x".repeat(LONGEST));
        for _ in 0..2 {
            let found = pods_dir(&long, Some(&runtime));
            assert_eq!(found.parent(), Some(runtime.as_path()));
            assert_eq!(
                found.canonicalize().unwrap(),
                long.join("v").canonicalize().unwrap()
            );
        }
        let link = pods_dir(&long, Some(&runtime));
        unlink(&link);
        assert!(!link.is_symlink() && long.join("v").is_dir());
        let short = Path::new("/d");
        assert_eq!(pods_dir(short, Some(&runtime)), short.join("v"));
        assert_eq!(pods_dir(&long, None), long.join("v"));
    }

    #[test]
    fn a_pod_of_any_name_has_directories_of_its_own() {
        assert_eq!(short("12345678-9abc"), "12345678");
        for uid in ["", "..", "/tmp", "zz"] {
            let short = short(uid);
            let hex = short.chars().all(|c| c.is_ascii_hexdigit());
            assert!(short.len() == 8 && hex, "{uid} {short}");
        }
        let data = Path::new("/d");
        let dir = |name: &str, uid: &str| logs_dir(data, "n", name, uid);
        assert_eq!(dir("p", "u"), Path::new("/d/logs/n_p_u"));
        for (name, uid) in [("/../../x", "u"), ("p", "/../../../x"), ("p/q", "u")] {
            let found = dir(name, uid);
            assert_eq!(found, data.join("logs").join(short(uid)), "{name} {uid}");
        }
    }

    #[test]
    fn only_directories_of_pods_that_are_gone_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let known = "aaaaaaaa-1111".to_owned();
        for name in [
            "v/aaaaaaaa",
            "v/bbbbbbbb",
            "logs/n_p_aaaaaaaa-1111",
            "logs/n_q_bbbbbbbb-2222",
        ] {
            make_dir(&dir.path().join(name)).unwrap();
        }
        sweep(dir.path(), &HashSet::from([known]));
        let there = |name: &str| dir.path().join(name).exists();
        assert!(there("v/aaaaaaaa") && there("logs/n_p_aaaaaaaa-1111"));
        assert!(!there("v/bbbbbbbb") && !there("logs/n_q_bbbbbbbb-2222"));
    }
}
