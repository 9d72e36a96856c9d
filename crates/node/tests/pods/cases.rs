//! What pods do.

use std::process::Command;

use serde_json::{Value, json};

use crate::world::{World, file, is_ready, state};

pub(crate) async fn all() {
    let world = World::new().await;
    a_killed_container_is_started_again(&world).await;
    files_and_variables_come_from_config_and_secret(&world).await;
    an_exec_probe_decides_readiness(&world).await;
    a_claim_may_be_a_directory_of_this_machine(&world).await;
    a_pre_stop_hook_runs_before_the_end(&world).await;
    what_ignores_the_order_to_end_is_killed(&world).await;
    a_deletion_by_force_waits_for_nobody(&world).await;
    a_pod_may_be_deleted_while_it_waits(&world).await;
    credentials_are_those_of_the_service_account(&world).await;
    what_has_no_effect_is_said(&world).await;
    sidecars_start_in_order_and_end_last(&world).await;
    a_pod_that_is_done_ends_its_sidecars(&world).await;
    a_pod_may_not_run_for_longer_than_it_says(&world).await;
    Box::pin(world.end()).await;
}

/// A claim `shared` at `/shared`.
fn with_claim(mut more: Value) -> Value {
    more["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "shared"}}]);
    more["container"]["volumeMounts"] = json!([{"name": "v", "mountPath": "/shared"}]);
    more
}

async fn a_killed_container_is_started_again(world: &World) {
    let script = "echo $$$$ > /shared/pid.new; mv /shared/pid.new /shared/pid; exec sleep 1000";
    world.pod("killed", script, &with_claim(json!({}))).await;
    world.until_running("killed").await;
    let pid = file(&world.claim("shared").join("pid"), |text| !text.is_empty()).await;
    let killed = Command::new("kill")
        .args(["-9", pid.trim()])
        .status()
        .unwrap();
    assert!(killed.success());
    let pod = world
        .until("killed", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"] == 1
                && state(pod).get("running").is_some()
        })
        .await;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 137, "{pod:#}");
    let reasons = world.reasons("killed").await;
    let starts = reasons.iter().filter(|reason| *reason == "Started").count();
    assert_eq!(starts, 2, "{reasons:?}");
    world.delete("killed", Some(0)).await;
    world.until_gone("killed").await;
}

async fn files_and_variables_come_from_config_and_secret(world: &World) {
    let metadata = json!({"name": "given"});
    world
        .create(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
                        "data": {"key": "from config", "other": "o"}}),
        )
        .await;
    world
        .create(
            &json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
                        "data": {"key": "ZnJvbSBzZWNyZXQ="}}),
        )
        .await;
    let script = "echo \"$(cat /config/renamed)|$(cat /secret/key)|$ONE|$P_key|$NAME|$(stat -c %a /secret/key /config/renamed /secret \"$KUBECONFIG\" | tr '\\n' ' ')|$PATH\"; exec sleep 1000";
    let more = json!({
        "volumes": [
            {"name": "c", "configMap": {"name": "given", "items": [{"key": "key", "path": "renamed"}]}},
            {"name": "s", "secret": {"secretName": "given", "defaultMode": 0o440}},
        ],
        "container": {
            "volumeMounts": [{"name": "c", "mountPath": "/config"}, {"name": "s", "mountPath": "/secret"}],
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "given"}}],
            "env": [
                {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "given", "key": "key"}}},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
        },
    });
    world.pod("reads", script, &more).await;
    let pod = world.until_running("reads").await;
    let log = world.log(&pod).await;
    // Modes count for the owner only.
    let expected =
        "from config|from secret|from secret|from config|reads|400 600 700 600 |/usr/local/bin";
    assert!(log.starts_with(expected), "{log}");
    assert_eq!(world.modes_of_logs(&pod), (0o700, 0o600));
    world.delete("reads", Some(0)).await;
    world.until_gone("reads").await;
}

async fn an_exec_probe_decides_readiness(world: &World) {
    let probe = json!({"exec": {"command": ["test", "-f", "/shared/ready"]}, "periodSeconds": 1,
                       "failureThreshold": 1});
    let more = with_claim(json!({"container": {"readinessProbe": probe}}));
    world.pod("probed", "exec sleep 1000", &more).await;
    let pod = world.until_running("probed").await;
    assert!(!is_ready(&pod));
    let mark = world.claim("shared").join("ready");
    std::fs::write(&mark, "").unwrap();
    world.until("probed", is_ready).await;
    std::fs::remove_file(&mark).unwrap();
    world.until("probed", |pod| !is_ready(pod)).await;
    world.delete("probed", Some(0)).await;
    world.until_gone("probed").await;
}

async fn a_claim_may_be_a_directory_of_this_machine(world: &World) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("m")).unwrap();
    std::fs::write(dir.path().join("m/file"), "from this machine\n").unwrap();
    world
        .create(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "annotations": {"weir.dev/local-path": dir.path()}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}))
        .await;
    let more = json!({
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "models"}}],
        "container": {"volumeMounts": [{"name": "v", "mountPath": "/mnt/models", "subPath": "m"}]},
    });
    let script = "cat /mnt/models/file; exec sleep 1000";
    world.pod("claims", script, &more).await;
    let pod = world.until_running("claims").await;
    assert_eq!(world.log(&pod).await, "from this machine\n");
    world.delete("claims", Some(0)).await;
    world.until_gone("claims").await;
    // What is read where it lies is not removed with the pod.
    assert!(dir.path().join("m/file").exists());
}

async fn a_pre_stop_hook_runs_before_the_end(world: &World) {
    let script = "trap 'echo term >> /shared/order; exit 0' TERM; while :; do sleep 0.05; done";
    let hook =
        json!({"preStop": {"exec": {"command": ["/bin/sh", "-c", "echo hook >> /shared/order"]}}});
    let more = with_claim(json!({"container": {"lifecycle": hook}}));
    world.pod("hooked", script, &more).await;
    world.until_running("hooked").await;
    world.delete("hooked", None).await;
    world.until_gone("hooked").await;
    let order = std::fs::read_to_string(world.claim("shared").join("order")).unwrap();
    assert!(order.starts_with("hook\n"), "{order:?}");
}

const DEAF: &str = "trap '' TERM; echo deaf; while :; do sleep 0.05; done";

async fn what_ignores_the_order_to_end_is_killed(world: &World) {
    world.pod("deaf", DEAF, &json!({})).await;
    let pod = world.until_running("deaf").await;
    world.log(&pod).await;
    world.delete("deaf", Some(1)).await;
    world.until_gone("deaf").await;
}

async fn a_deletion_by_force_waits_for_nobody(world: &World) {
    // As long as it can be: no clock reaches that far.
    let more = with_claim(json!({"terminationGracePeriodSeconds": i64::MAX}));
    let script =
        "trap '' TERM; echo $$$$ > /shared/forced; echo deaf; while :; do sleep 0.05; done";
    world.pod("forced", script, &more).await;
    let pod = world.until_running("forced").await;
    world.log(&pod).await;
    let pid = std::fs::read_to_string(world.claim("shared").join("forced")).unwrap();
    world.delete("forced", None).await;
    world
        .until("forced", |pod| {
            pod.pointer("/metadata/deletionTimestamp").is_some()
        })
        .await;
    world.delete("forced", Some(0)).await;
    world.until_gone("forced").await;
    let process = format!("/proc/{}", pid.trim());
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::path::Path::new(&process).exists() {
        assert!(
            tokio::time::Instant::now() < end,
            "the process is still there"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn a_pod_may_be_deleted_while_it_waits(world: &World) {
    world.pod("fails", "exit 3", &json!({})).await;
    let missing = json!({"container": {"env": [{"name": "A", "valueFrom": {
        "configMapKeyRef": {"name": "nowhere", "key": "k"}}}]}});
    world.pod("lacks", "exec sleep 1000", &missing).await;
    let waits = |reason: &'static str| move |pod: &Value| state(pod)["waiting"]["reason"] == reason;
    world.until("fails", waits("CrashLoopBackOff")).await;
    world
        .until("lacks", waits("CreateContainerConfigError"))
        .await;
    for name in ["fails", "lacks"] {
        world.delete(name, None).await;
        world.until_gone(name).await;
    }
    // Deleted at once, in whatever state it is then.
    world.pod("brief", "exec sleep 1000", &json!({})).await;
    world.delete("brief", Some(1)).await;
    world.until_gone("brief").await;
}

async fn credentials_are_those_of_the_service_account(world: &World) {
    let script = "cat \"$KUBECONFIG\"; echo; exec sleep 1000";
    world.pod("asks", script, &json!({})).await;
    let pod = world.until_running("asks").await;
    let read: Value = serde_json::from_str(&world.log(&pod).await).unwrap();
    let token = read["users"][0]["user"]["token"].as_str().unwrap();
    assert!(token.len() > 8);
    assert!(!world.admin_kubeconfig().contains(token));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, read.to_string()).unwrap();
    world.reads_pods_as(&path).await;
    let declined = json!({"automountServiceAccountToken": false});
    world
        .pod(
            "declines",
            "echo \"<$KUBECONFIG>\"; exec sleep 1000",
            &declined,
        )
        .await;
    let pod = world.until_running("declines").await;
    assert_eq!(world.log(&pod).await, "<>\n");
    for name in ["asks", "declines"] {
        world.delete(name, Some(0)).await;
        world.until_gone(name).await;
    }
}

async fn what_has_no_effect_is_said(world: &World) {
    let more = json!({"nodeSelector": {"gpu": "yes"}});
    world.pod("selects", "exec sleep 1000", &more).await;
    world.until_running("selects").await;
    let reasons = world.reasons("selects").await;
    assert!(reasons.contains(&"NoEffect".to_owned()), "{reasons:?}");
    world.delete("selects", Some(0)).await;
    world.until_gone("selects").await;
}

async fn sidecars_start_in_order_and_end_last(world: &World) {
    // Each says when it starts and when it is told to end.
    let script = |name: &str| {
        format!(
            "trap 'echo end {name} >> /shared/story; exit 0' TERM; echo start {name} >> /shared/story; \
             echo $$$$ > /shared/{name}.pid; while :; do sleep 0.05; done"
        )
    };
    let mounts = json!([{"name": "v", "mountPath": "/shared"}]);
    let one = |name: &str, script: String, always: bool| {
        let mut container = json!({"name": name, "image": "any", "volumeMounts": mounts,
                                   "command": ["/bin/sh", "-c", script]});
        if always {
            container["restartPolicy"] = json!("Always");
        }
        container
    };
    let mut first = one("first", script("first"), true);
    first["startupProbe"] =
        json!({"exec": {"command": ["test", "-f", "/shared/go"]}, "failureThreshold": 100});
    let mut second = one("second", script("second"), true);
    // What comes after it waits until it has said that it started.
    second["startupProbe"] =
        json!({"exec": {"command": ["test", "-f", "/shared/second.pid"]}, "failureThreshold": 100});
    let once = one("once", "echo once >> /shared/story".to_owned(), false);
    let more = with_claim(json!({"initContainers": [first, once, second]}));
    world.pod("sided", &script("main"), &more).await;
    let shared = world.claim("shared");
    file(&shared.join("first.pid"), |text| !text.is_empty()).await;
    let pod = world
        .until("sided", |pod| {
            !pod["status"]["initContainerStatuses"][0]["state"]["running"].is_null()
        })
        .await;
    assert_eq!(pod["status"]["phase"], "Pending");
    assert!(!pod["status"]["initContainerStatuses"][1]["state"]["waiting"].is_null());
    std::fs::write(shared.join("go"), "").unwrap();
    world.until("sided", is_ready).await;
    // One that dies is started anew, and nothing else is.
    let pid = file(&shared.join("second.pid"), |text| !text.is_empty()).await;
    let killed = Command::new("kill").args(["-9", pid.trim()]).status();
    assert!(killed.unwrap().success());
    let pod = world
        .until("sided", |pod| {
            pod["status"]["initContainerStatuses"][2]["restartCount"] == 1 && is_ready(pod)
        })
        .await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    // A script is told to end only when it listens.
    file(&shared.join("second.pid"), |text| {
        !text.is_empty() && *text != *pid
    })
    .await;
    file(&shared.join("main.pid"), |text| !text.is_empty()).await;
    world.delete("sided", None).await;
    world.until_gone("sided").await;
    let story = std::fs::read_to_string(shared.join("story")).unwrap();
    let expected = "start first\nonce\nstart second\nstart main\nstart second\n\
                    end main\nend second\nend first\n";
    assert_eq!(story, expected);
}

async fn a_pod_that_is_done_ends_its_sidecars(world: &World) {
    let sidecar = json!([{"name": "s", "image": "any", "restartPolicy": "Always",
                          "command": ["/bin/sh", "-c", "exec sleep 1000"]}]);
    let more = json!({"restartPolicy": "Never", "initContainers": sidecar,
                      "terminationGracePeriodSeconds": 1});
    world.pod("done", "exit 0", &more).await;
    let pod = world
        .until("done", |pod| {
            let sidecar = &pod["status"]["initContainerStatuses"][0]["state"];
            !sidecar["terminated"].is_null()
        })
        .await;
    assert_eq!(pod["status"]["phase"], "Succeeded", "{pod:#}");
    world.delete("done", Some(0)).await;
    world.until_gone("done").await;
}

async fn a_pod_may_not_run_for_longer_than_it_says(world: &World) {
    let more = json!({"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 0});
    world.pod("late", "exec sleep 1000", &more).await;
    let pod = world
        .until("late", |pod| !state(pod)["terminated"].is_null())
        .await;
    assert_eq!(pod["status"]["phase"], "Failed", "{pod:#}");
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    assert!(!is_ready(&pod));
    world.delete("late", Some(0)).await;
    world.until_gone("late").await;
}
