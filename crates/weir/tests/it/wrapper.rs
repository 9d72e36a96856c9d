//! The two shell wrappers say what a machine lacks before cargo fails with something less clear.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::instance::root;

/// Runs a wrapper with a `PATH` that holds only the usual small tools and `present`.
fn run(wrapper: &str, present: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    for tool in ["bash", "env", "dirname", "sed", "sort", "head"]
        .iter()
        .chain(present)
    {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path)
            .map(|dir| dir.join(tool))
            .find(|file| file.exists());
        symlink(found.unwrap(), dir.path().join(tool)).unwrap();
    }
    let output = Command::new(root().join(wrapper))
        .arg("--version")
        .env("PATH", dir.path())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn everything_missing_is_named_at_once() {
    for wrapper in ["weir", "test"] {
        let (status, text) = run(wrapper, &[]);
        assert_eq!(status, Some(1), "{text}");
        for word in ["git", "a C compiler", "Rust 1.95"] {
            assert!(text.contains(word), "{wrapper}: {word} not in {text}");
        }
    }
}

#[test]
fn only_what_is_missing_is_named() {
    let (status, text) = run("weir", &["git"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(
        !text.contains("git (") && text.contains("a C compiler"),
        "{text}"
    );
}
