//! Mount paths in command words and environment values, replaced by the host paths of their volumes.
//!
//! There is no mount namespace, so a container sees host paths. A path counts where it begins a word or
//! follows one of ``= , : " ' [ ( space`` or `file://`, and where it ends at the end, at `/` or at one of
//! the same.

use std::path::PathBuf;

/// A mounted volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Path in the container.
    pub path: String,
    /// Path on this machine.
    pub host: PathBuf,
}

const BORDER: &[char] = &['=', ',', ':', '"', '\'', '[', '(', ' ', ']', ')'];

/// Replaces every mount path in `word`; the longest mount that fits wins, and nothing is replaced twice.
pub fn map(word: &str, mounts: &[Mount]) -> String {
    let mut mounts: Vec<&Mount> = mounts.iter().filter(|mount| mount.path != "/").collect();
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.path.len()));
    let mut mapped = String::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        let before = &word[..word.len() - rest.len()];
        let found = begins(before)
            .then(|| mounts.iter().find(|mount| fits(rest, &mount.path)))
            .flatten();
        if let Some(mount) = found {
            mapped.push_str(&mount.host.to_string_lossy());
            rest = &rest[mount.path.trim_end_matches('/').len()..];
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            mapped.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    mapped
}

fn begins(before: &str) -> bool {
    before.is_empty() || before.ends_with(BORDER) || before.ends_with("file://")
}

fn fits(rest: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    rest.strip_prefix(path).is_some_and(|after| {
        after.is_empty() || after.starts_with('/') || after.starts_with(BORDER)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_paths_at_borders_are_mapped() {
        let mount = |path: &str, host: &str| Mount {
            path: path.into(),
            host: host.into(),
        };
        let mounts = [
            mount("/mnt/models", "/v/1"),
            mount("/mnt", "/v/2"),
            mount("/", "/v/3"),
        ];
        let rows = [
            ("/mnt/models", "/v/1"),
            ("/mnt/models/a.json", "/v/1/a.json"),
            ("/mnt/modelsX", "/v/2/modelsX"),
            ("--path=/mnt/models,/mnt/x", "--path=/v/1,/v/2/x"),
            ("{\"a\": \"/mnt/models\"}", "{\"a\": \"/v/1\"}"),
            ("file:///mnt/models", "file:///v/1"),
            ("http://host/mnt/models", "http://host/mnt/models"),
            ("/other", "/other"),
        ];
        for (word, wanted) in rows {
            assert_eq!(map(word, &mounts), wanted, "{word}");
        }
    }
}
