//! What a killed instance leaves behind: its objects, and no process.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::instance::{Instance, has_kubectl, processes_of, root};

#[test]
fn a_killed_instance_leaves_no_process_and_serves_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let manifest = root().join("examples/basic.yaml");
    let mut instance = Instance::start(&data, &[&manifest], &[]);
    instance.await_line("ready    basic-llm");
    assert!(processes_of(&data).len() > 1, "no pod processes found");
    instance.end(Signal::SIGKILL);
    let killed = Instant::now();
    while !processes_of(&data).is_empty() {
        assert!(
            killed.elapsed() < Duration::from_secs(2),
            "still running: {:#?}",
            processes_of(&data)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut again = Instance::start(&data, &[&manifest], &[]);
    again.await_line("ready    basic-llm");
}

#[test]
fn acknowledged_writes_survive_a_kill() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let mut instance = Instance::start(&data, &[], &[]);
    instance.await_line("export KUBECONFIG");
    let mut acknowledged = Vec::new();
    std::thread::scope(|scope| {
        let instance = &instance;
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                scope.spawn(move || {
                    (0..50)
                        .map(|n| format!("burst-{writer}-{n}"))
                        .take_while(|name| {
                            instance
                                .kubectl(&["create", "configmap", name])
                                .status
                                .success()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(2));
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(instance.pid().cast_signed()),
            Signal::SIGKILL,
        );
        for writer in writers {
            acknowledged.extend(writer.join().unwrap());
        }
    });
    assert!(!acknowledged.is_empty());
    instance.end(Signal::SIGKILL);
    let mut again = Instance::start(&data, &[], &[]);
    again.await_line("export KUBECONFIG");
    let kept = again.kubectl_ok(&["get", "configmap", "-o", "name"]);
    for name in &acknowledged {
        assert!(
            kept.contains(&format!("configmap/{name}\n")),
            "{name} was lost"
        );
    }
}
