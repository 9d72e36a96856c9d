//! The real `kubectl` against one instance, command by command.

use crate::instance::{Instance, has_kubectl, processes_of, root};

#[test]
fn kubectl_sees_and_changes_a_service() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let manifest = root().join("examples/basic.yaml");
    let manifest = manifest.to_str().unwrap();
    let mut weir = Instance::start(&data, &[], &[]);
    weir.await_line("export KUBECONFIG");
    weir.kubectl_ok(&["apply", "-f", manifest]);
    weir.kubectl_ok(&[
        "wait",
        "--for=condition=Ready",
        "llmisvc/basic-llm",
        "--timeout=120s",
    ]);
    let columns = weir.kubectl_ok(&["get", "llmisvc"]);
    for word in ["NAME", "URL", "READY", "AGE", "basic-llm", "True"] {
        assert!(columns.contains(word), "{word} not in {columns}");
    }
    let wide = weir.kubectl_ok(&["get", "deploy,rs,pods,svc,httproute", "-o", "wide"]);
    for word in [
        "deployment.apps/basic-llm-kserve",
        "2/2",
        "Running",
        "basic-llm-kserve-route",
    ] {
        assert!(wide.contains(word), "{word} not in {wide}");
    }
    weir.kubectl_ok(&[
        "rollout",
        "status",
        "deployment/basic-llm-kserve",
        "--timeout=120s",
    ]);
    let described = weir.kubectl_ok(&["describe", "llmisvc", "basic-llm"]);
    assert!(described.contains("Conditions"), "{described}");
    weir.kubectl_ok(&["describe", "pods"]);
    let events = weir.kubectl_ok(&["get", "events"]);
    assert!(events.contains("Started"), "{events}");
    let explained = weir.kubectl_ok(&["explain", "llmisvc.spec.parallelism"]);
    assert!(explained.contains("tensor"), "{explained}");
    let logs = weir.kubectl_ok(&["logs", "deployment/basic-llm-kserve", "-c", "main"]);
    assert!(!logs.is_empty());

    // Without replicas in the service a scale of the deployment would stay; with it, it is put back.
    weir.kubectl_ok(&["scale", "deployment", "basic-llm-kserve", "--replicas=1"]);
    let replicas = [
        "get",
        "deploy",
        "basic-llm-kserve",
        "-o",
        "jsonpath={.spec.replicas}/{.status.readyReplicas}",
    ];
    weir.kubectl_until(&replicas, |text| text == "2/2");
    for (count, shown) in [("5", "5/5"), ("0", "0/"), ("2", "2/2")] {
        let patch = format!(r#"{{"spec":{{"replicas":{count}}}}}"#);
        weir.kubectl_ok(&[
            "patch",
            "llmisvc",
            "basic-llm",
            "--type=merge",
            "-p",
            &patch,
        ]);
        weir.kubectl_until(&replicas, |text| text == shown);
    }
    let diff = weir.kubectl(&["diff", "-f", manifest]);
    assert_eq!(
        diff.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&diff.stderr)
    );
    weir.kubectl_ok(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        manifest,
    ]);

    weir.kubectl_ok(&["delete", "llmisvc", "basic-llm", "--timeout=120s"]);
    weir.kubectl_until(
        &["get", "deploy,rs,pods,svc,httproute", "-o", "name"],
        |text| !text.contains("basic-llm"),
    );
    let left: Vec<_> = processes_of(&data)
        .into_iter()
        .filter(|line| line.contains("node-"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn edit_takes_what_the_editor_leaves() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let manifest = root().join("examples/basic.yaml");
    let mut weir = Instance::start(&dir.path().join("d"), &[&manifest], &[]);
    weir.await_line("ready    basic-llm");
    let edited = std::process::Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(weir.kubeconfig())
        .args(["edit", "llmisvc", "basic-llm"])
        .env("KUBE_EDITOR", "sed -i s/replicas:.2/replicas:\\ 1/")
        .env("HOME", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&edited.stderr).into_owned();
    assert!(edited.status.success(), "{text}");
    let replicas = [
        "get",
        "deploy",
        "basic-llm-kserve",
        "-o",
        "jsonpath={.spec.replicas}/{.status.readyReplicas}",
    ];
    weir.kubectl_until(&replicas, |text| text == "1/1");
}

#[test]
fn logs_are_followed() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let manifest = root().join("examples/basic.yaml");
    let mut weir = Instance::start(&dir.path().join("d"), &[&manifest], &[]);
    weir.await_line("ready    basic-llm");
    let mut follow = std::process::Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(weir.kubeconfig())
        .args(["logs", "-f", "deployment/basic-llm-kserve", "-c", "main"])
        .env("HOME", dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut lines = std::io::BufReader::new(follow.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut first).unwrap();
    assert!(!first.is_empty());
    // It follows: the stream ends only with the pod.
    assert!(
        follow.try_wait().unwrap().is_none(),
        "logs -f ended by itself"
    );
    weir.kubectl_ok(&["delete", "llmisvc", "basic-llm", "--timeout=120s"]);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut lines, &mut rest).unwrap();
    follow.wait().unwrap();
}

#[test]
fn a_scale_stays_where_the_service_names_no_replicas() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root().join("examples/basic.yaml")).unwrap();
    let manifest = dir.path().join("model.yaml");
    std::fs::write(&manifest, text.replace("  replicas: 2\n", "")).unwrap();
    let mut weir = Instance::start(&dir.path().join("d"), &[&manifest], &[]);
    weir.await_line("ready    basic-llm");
    weir.kubectl_ok(&["scale", "deployment", "basic-llm-kserve", "--replicas=3"]);
    let replicas = [
        "get",
        "deploy",
        "basic-llm-kserve",
        "-o",
        "jsonpath={.spec.replicas}/{.status.readyReplicas}",
    ];
    weir.kubectl_until(&replicas, |text| text == "3/3");
    // Another look by the controller changes nothing.
    weir.kubectl_ok(&[
        "annotate",
        "llmisvc",
        "basic-llm",
        "example.com/touched=yes",
    ]);
    weir.kubectl_ok(&[
        "wait",
        "--for=condition=Ready",
        "llmisvc/basic-llm",
        "--timeout=120s",
    ]);
    weir.kubectl_until(&replicas, |text| text == "3/3");
}
