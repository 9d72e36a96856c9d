//! A service with a picker: every request goes gateway, picker, engine. A picker that dies comes back, and nothing
//! of the service stays when it is deleted.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::instance::{Instance, has_kubectl, post, processes_of, root};

/// What a picker leaves on every answer that passed it.
const PASSED: &str = "x-went-into-resp-headers: true";

fn ask(url: &str, stream: bool) -> (u16, String) {
    let body = format!(
        r#"{{"model":"scheduled","max_tokens":3,"stream":{stream},"messages":[{{"role":"user","content":"Hello"}}]}}"#
    );
    post(&format!("{url}/v1/chat/completions"), &body)
}

fn pickers(weir: &Instance) -> Vec<String> {
    let all = processes_of(&weir.data);
    let running = |line: &String| line.contains(" epp ") && !line.contains(" node-s");
    all.into_iter().filter(running).collect()
}

#[test]
fn a_picker_places_every_request() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = root().join("examples/scheduled.yaml");
    let mut weir = Instance::start(&dir.path().join("d"), &[&manifest], &[]);
    let line = weir.await_line("ready    scheduled");
    let url = line.split_whitespace().last().unwrap();
    for stream in [false, true, true, false] {
        let (status, answer) = ask(url, stream);
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains(PASSED), "{answer}");
        assert!(answer.contains("x-weir-engine: simulated"), "{answer}");
        assert_eq!(answer.contains("data: [DONE]"), stream, "{answer}");
    }
    if !has_kubectl() {
        return;
    }
    let pool = weir.kubectl_ok(&["get", "inferencepool", "-o", "name"]);
    assert!(pool.contains("scheduled-inference-pool"), "{pool}");

    // One picker that dies is started anew, and serves again.
    let before = pickers(&weir);
    let [picker] = before.as_slice() else {
        panic!("one picker, not {before:#?}");
    };
    let pid = picker.split(' ').next().unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let restarts = [
        "get",
        "pods",
        "-o",
        "jsonpath={.items[*].status.containerStatuses[0].restartCount}",
    ];
    weir.kubectl_until(&restarts, |text| text.split(' ').any(|count| count == "1"));
    let words = [
        "get",
        "deploy",
        "-o",
        "jsonpath={.items[*].status.readyReplicas}",
    ];
    weir.kubectl_until(&words, |text| text.contains('1') && text.contains('2'));
    let (status, answer) = ask(url, false);
    assert_eq!(status, 200, "{answer}");

    weir.kubectl_ok(&["delete", "llmisvc", "scheduled", "--wait=false"]);
    let kinds = "llmisvc,deploy,pods,svc,inferencepool,httproute,roles,rolebindings";
    let all = ["get", kinds, "-o", "name"];
    weir.kubectl_until(&all, |text| !text.contains("scheduled"));
    assert!(pickers(&weir).is_empty());
}
