//! `weir up` follows its files.

use std::time::Instant;

use crate::instance::{Instance, LIMIT, has_kubectl};

fn service(name: &str, replicas: u8) -> String {
    format!(
        "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\nmetadata:\n  name: {name}\nspec:\n  model:\n    uri: hf://a/b\n  replicas: {replicas}\n---\n"
    )
}

/// Waits until everything printed holds `text` `times` times.
fn await_text(instance: &Instance, text: &str, times: usize) {
    let begun = Instant::now();
    while instance.output().matches(text).count() < times {
        assert!(
            begun.elapsed() < LIMIT,
            "no {text:?} {times} times in:\n{}",
            instance.output()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn what_changes_in_a_file_is_done() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.yaml");
    std::fs::write(&file, service("one", 1) + &service("two", 1)).unwrap();
    let mut instance = Instance::start(&dir.path().join("d"), &[&file], &[]);
    instance.await_line("export KUBECONFIG");
    let replicas = |name: &str| {
        let path = "-o=jsonpath={.spec.replicas}";
        instance.kubectl_ok(&["get", "llminferenceservice", name, path])
    };
    assert_eq!(replicas("one"), "1");

    std::fs::write(&file, service("one", 2) + "  bad: [\n").unwrap();
    await_text(&instance, "kept     ", 1);
    assert!(
        instance.output().contains("m.yaml:10:8: "),
        "{}",
        instance.output()
    );
    assert_eq!(
        (replicas("one"), replicas("two")),
        ("1".to_owned(), "1".to_owned())
    );

    std::fs::write(&file, service("one", 2)).unwrap();
    await_text(&instance, "deleted  LLMInferenceService two", 1);
    assert_eq!(replicas("one"), "2");
    instance.kubectl_until(&["get", "llminferenceservice", "-o=name"], |names| {
        names.lines().count() == 1
    });
    instance.kubectl_until(&["get", "pods", "-o=name"], |pods| {
        pods.lines().count() == 2
    });
}

#[test]
fn files_are_left_alone_when_asked() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.yaml");
    std::fs::write(&file, service("one", 1)).unwrap();
    let watched = dir.path().join("w.yaml");
    std::fs::copy(&file, &watched).unwrap();
    let mut alone = Instance::start(&dir.path().join("d"), &[&file], &["--no-watch"]);
    let mut followed = Instance::start(&dir.path().join("e"), &[&watched], &[]);
    alone.await_line("export KUBECONFIG");
    followed.await_line("export KUBECONFIG");
    std::fs::write(&file, service("one", 2)).unwrap();
    std::fs::write(&watched, service("one", 2)).unwrap();
    // The one that follows shows that there was time to.
    await_text(&followed, "applied  LLMInferenceService one", 2);
    assert_eq!(alone.output().matches("applied  ").count(), 1);
}
