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

#[test]
fn a_killed_container_is_started_again_and_seen() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let manifest = root().join("examples/basic.yaml");
    let mut weir = Instance::start(&data, &[&manifest], &[]);
    weir.await_line("ready    basic-llm");
    let victim = processes_of(&data)
        .into_iter()
        .find(|line| line.contains(" engine ") && !line.contains("node-"))
        .unwrap();
    let pid: i32 = victim.split(' ').next().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let restarts = [
        "get",
        "pods",
        "-o",
        "jsonpath={.items[*].status.containerStatuses[0].restartCount}",
    ];
    weir.kubectl_until(&restarts, |text| text.contains('1'));
    let shown = weir.kubectl_until(&["get", "pods"], |text| text.matches("1/1").count() == 2);
    assert!(shown.contains("Running"), "{shown}");
    let events = weir.kubectl_ok(&["get", "events"]);
    assert!(events.matches("Started").count() >= 3, "{events}");
}

#[test]
fn a_container_that_left_its_session_goes_with_the_instance() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d");
    let manifest = dir.path().join("pod.yaml");
    // The word after the program marks the process in the process table.
    let marker = format!("weir-test-{}", std::process::id());
    std::fs::write(
        &manifest,
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: loose\nspec:\n  containers:\n  - name: c\n    image: any\n    command: [sh, -c, \"setsid sh -c 'trap : TERM; while true; do sleep 1; done' {marker} & wait\"]\n"
        ),
    )
    .unwrap();
    let mut weir = Instance::start(&data, &[&manifest], &["--allow-host-commands"]);
    let begun = Instant::now();
    let loose = || marked(&marker);
    while loose().is_empty() {
        assert!(
            begun.elapsed() < crate::instance::LIMIT,
            "not started:\n{}",
            weir.output()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    weir.end(Signal::SIGKILL);
    let killed = Instant::now();
    while !loose().is_empty() {
        assert!(
            killed.elapsed() < Duration::from_secs(2),
            "still running: {:?}",
            loose()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Processes whose last words hold `marker`, other than those that carry the whole script.
fn marked(marker: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.trim_end().ends_with(marker))
        .collect()
}
