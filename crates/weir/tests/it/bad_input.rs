//! Bad input ends with one clear message and a status other than 0, and nothing is half created.

use std::process::{Command, Stdio};

use crate::instance::program;

/// Runs `weir up` on one file and returns its status and what it printed, with the directory's name
/// taken out.
fn refused(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.yaml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(program())
        .args([
            "up",
            "--listen",
            "127.0.0.1:0",
            "--engine",
            "sim",
            "--exit-when-ready",
        ])
        .arg("--data-dir")
        .arg(dir.path().join("d"))
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        !dir.path().join("d").exists(),
        "state was made for a manifest that is refused"
    );
    String::from_utf8(output.stderr)
        .unwrap()
        .replace(&format!("{}/", dir.path().display()), "")
}

const HEAD: &str =
    "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\nmetadata:\n  name: m\n";

#[test]
fn not_yaml() {
    insta::assert_snapshot!(refused("kind: [unclosed\nname: x\n"));
}

#[test]
fn unknown_kind() {
    insta::assert_snapshot!(refused(
        "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMService\nmetadata:\n  name: m\n"
    ));
}

#[test]
fn unknown_field() {
    insta::assert_snapshot!(refused(&format!(
        "{HEAD}spec:\n  model:\n    uri: hf://a/b\n  replica: 2\n"
    )));
}

#[test]
fn wrong_type() {
    insta::assert_snapshot!(refused(&format!(
        "{HEAD}spec:\n  model:\n    uri: hf://a/b\n  replicas: \"2\"\n"
    )));
}

#[test]
fn unquoted_n_in_a_string_field() {
    insta::assert_snapshot!(refused(&format!(
        "{HEAD}spec:\n  model:\n    uri: hf://a/b\n  template:\n    containers:\n    - name: main\n      env:\n      - name: FLAG\n        value: n\n"
    )));
}

#[test]
fn name_too_long_for_child_objects() {
    let name = "n".repeat(80);
    insta::assert_snapshot!(refused(&format!(
        "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\nmetadata:\n  name: {name}\nspec:\n  model:\n    uri: hf://a/b\n"
    )));
}

#[test]
fn unreadable_file() {
    let output = Command::new(program())
        .args(["up", "no-such-file.yaml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap());
}

#[test]
fn port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(program())
        .args(["up", "--listen", &address, "--data-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(
        String::from_utf8(output.stderr)
            .unwrap()
            .replace(&address, "127.0.0.1:PORT")
    );
}
