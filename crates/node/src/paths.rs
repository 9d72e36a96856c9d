//! Container paths in command lines and environments, replaced by host paths.
//!
//! There is no mount namespace: where a word names a path below a mount, the host path of the volume
//! is put in its place.

use std::path::PathBuf;

/// A mounted volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `mountPath`, without a slash at the end.
    pub inside: String,
    /// The directory or file on this machine.
    pub host: PathBuf,
}

const BEFORE: [char; 9] = ['=', ',', ':', '"', '\'', '[', '(', ' ', '\n'];
const AFTER: [char; 11] = ['/', '=', ',', ':', '"', '\'', ']', ')', ' ', '[', '\n'];

/// Returns `text` with every path below a mount replaced; of mounts that match, the longest counts.
pub fn replace(text: &str, mounts: &[Mount]) -> String {
    let mut sorted: Vec<&Mount> = mounts.iter().collect();
    sorted.sort_by_key(|mount| std::cmp::Reverse(mount.inside.len()));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with('/') && begins(text, at) {
            let found = sorted.iter().find(|mount| {
                rest.strip_prefix(mount.inside.as_str())
                    .is_some_and(|after| after.is_empty() || after.starts_with(AFTER))
            });
            if let Some(mount) = found {
                out.push_str(&mount.host.to_string_lossy());
                at += mount.inside.len();
                continue;
            }
        }
        let Some(next) = rest.chars().next() else {
            break;
        };
        out.push(next);
        at += next.len_utf8();
    }
    out
}

/// Whether a path may begin at `at`: at the start of a word, and not inside a URL other than a file's.
fn begins(text: &str, at: usize) -> bool {
    let before = &text[..at];
    if before.ends_with("file://") {
        return true;
    }
    if !before.is_empty() && !before.ends_with(BEFORE) {
        return false;
    }
    let word = before
        .rsplit([',', '"', '\'', '[', '(', ' ', '\n', '='])
        .next()
        .unwrap_or(before);
    !before.ends_with("://") && !word.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_replaced_where_a_word_begins_only() {
        let mounts = [
            Mount {
                inside: "/mnt".into(),
                host: "/d/a".into(),
            },
            Mount {
                inside: "/mnt/models".into(),
                host: "/d/b".into(),
            },
            Mount {
                inside: "/d".into(),
                host: "/never".into(),
            },
        ];
        let rows = [
            ("/mnt/models", "/d/b"),
            ("/mnt/models/x", "/d/b/x"),
            ("/mnt/modelsx", "/d/a/modelsx"),
            ("--dir=/mnt/models,/mnt/x", "--dir=/d/b,/d/a/x"),
            ("file:///mnt/models/a", "file:///d/b/a"),
            ("http://host/mnt/models", "http://host/mnt/models"),
            ("http://host:/mnt/models", "http://host:/mnt/models"),
            ("x/mnt/models", "x/mnt/models"),
            ("{\"path\":\"/mnt/models\"}", "{\"path\":\"/d/b\"}"),
            ("ls /mnt/models (/mnt)", "ls /d/b (/d/a)"),
            ("", ""),
            ("日本 /mnt", "日本 /d/a"),
        ];
        for (text, wanted) in rows {
            assert_eq!(replace(text, &mounts), wanted, "{text}");
        }
    }
}
