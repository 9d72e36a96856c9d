//! Models named by `file://` with the engine `vllm`. A script stands in for the real one: it starts something that
//! listens on every address, shows its command line and becomes the simulated engine.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::instance::{Instance, has_kubectl, post, processes_of, program};

/// A service of one model.
fn service(name: &str, uri: &str) -> String {
    format!(
        "apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {{name: {name}}}
spec:
  model: {{uri: \"{uri}\", name: {name}}}
  router: {{gateway: {{}}, route: {{}}}}
---
"
    )
}

fn stand_in(bin: &Path) {
    std::fs::create_dir(bin).unwrap();
    let script = format!(
        "#!/bin/sh
python3 -c 'import socket, time; s = socket.create_server((\"0.0.0.0\", 0)); time.sleep(600)' &
echo \"started: $*\"
exec {program} engine \"$@\"
",
        program = program()
    );
    let vllm = bin.join("vllm");
    std::fs::write(&vllm, script).unwrap();
    std::fs::set_permissions(&vllm, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_model_of_this_machine_is_served_and_others_wait_with_the_reason() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (models, other) = (dir.path().join("models"), dir.path().join("other"));
    for path in [&models.join("m"), &other] {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join("config.json"), "{}").unwrap();
    }
    let bin = dir.path().join("bin");
    stand_in(&bin);
    let manifest = dir.path().join("models.yaml");
    let text = [
        service("given", &format!("file://{}/m", models.display())),
        service("outside", &format!("file://{}", other.display())),
        service("remote", "hf://org/m"),
    ];
    std::fs::write(&manifest, text.concat()).unwrap();
    let data = dir.path().join("d");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program());
    command
        .arg("up")
        .arg(&manifest)
        .args(["--engine", "vllm", "--allow-path"])
        .arg(&models)
        .env("PATH", format!("{}:{path}", bin.display()));
    let mut instance = Instance::launch(&data, &mut command);
    let ready = instance.await_line("ready    given");
    let url = ready.split_whitespace().last().unwrap().to_owned();
    let body = r#"{"model":"given","messages":[{"role":"user","content":"a"}]}"#;
    let (status, answer) = post(&format!("{url}/v1/chat/completions"), body);
    assert_eq!(status, 200, "{answer}");

    let pod = |name: &str| format!("app.kubernetes.io/name={name}");
    let log = instance.kubectl_ok(&["logs", "-c", "main", "-l", &pod("given")]);
    // The engine reads the model through the volume of its pod, which is a link to where it lies.
    let model = log
        .lines()
        .find_map(|line| line.strip_prefix("started: serve "))
        .and_then(|words| words.split(' ').next())
        .unwrap();
    assert_eq!(
        Path::new(model).canonicalize().unwrap(),
        models.join("m").canonicalize().unwrap(),
        "{log}"
    );
    for (name, reason) in [
        ("outside", "not below a directory given by --allow-path"),
        ("remote", "model downloads are not part of this build yet"),
    ] {
        let message = "jsonpath={.items[0].status.initContainerStatuses[0].state.waiting.message}";
        instance.kubectl_until(&["get", "pods", "-l", &pod(name), "-o", message], |text| {
            text.contains(reason)
        });
    }
    if Command::new("python3").arg("--version").output().is_ok() {
        let about = "reason=ListensBeyondLoopback";
        instance.kubectl_until(&["get", "events", "--field-selector", about], |text| {
            text.contains("pod/given") && text.contains("0.0.0.0:")
        });
    } else {
        eprintln!("SKIPPED: python3 is not on PATH, to listen where an engine should not");
    }
    let nodes = instance.kubectl_ok(&["get", "nodes", "--no-headers"]);
    assert_eq!(nodes.split_whitespace().nth(1), Some("Ready"), "{nodes}");

    let status = instance.end(Signal::SIGINT);
    assert_eq!(status.code(), Some(0), "{}", instance.output());
    assert_eq!(processes_of(&data), Vec::<String>::new());
    assert!(models.join("m/config.json").exists());
}
