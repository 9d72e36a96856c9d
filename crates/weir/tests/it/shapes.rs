//! Services of more than one kind of pod: prefill and decode, and groups over several nodes. Each becomes
//! ready and answers, survives the death of any one process, and goes away completely.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::instance::{Instance, has_kubectl, post, processes_of, root, shared};

const PODS: [&str; 4] = [
    "get",
    "pods",
    "-o",
    "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}",
];

fn start(dir: &std::path::Path, name: &str) -> Instance {
    let manifest = root().join(format!("examples/{name}.yaml"));
    let mut weir = Instance::start(&dir.join("d"), &[&manifest], &[]);
    weir.await_line(&format!("ready    {name}"));
    weir
}

fn answers(weir: &Instance, name: &str) -> bool {
    answers_at(&format!("{}/default/{name}", weir.gateway), name)
}

fn answers_at(url: &str, name: &str) -> bool {
    let url = format!("{url}/v1/completions");
    let body = format!(r#"{{"model":"{name}","max_tokens":2,"prompt":"Hello"}}"#);
    let (status, answer) = post(&url, &body);
    status == 200 && answer.contains("x-weir-engine: simulated")
}

/// Processes of containers whose command line holds all of `words`.
fn processes(weir: &Instance, words: &[&str]) -> Vec<String> {
    let all = processes_of(&weir.data);
    let found: Vec<String> = all
        .iter()
        .filter(|line| !line.contains(" node-s") && words.iter().all(|word| line.contains(word)))
        .cloned()
        .collect();
    assert!(!found.is_empty(), "no process {words:?} in {all:#?}");
    found
}

fn kill_process(line: &str) {
    let pid = line.split(' ').next().unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Names and uids of pods, all of which are ready.
fn ready(
    weir: &Instance,
    count: usize,
    wanted: impl Fn(&BTreeSet<String>) -> bool,
) -> BTreeSet<String> {
    let parse = |text: &str| -> BTreeSet<String> {
        let ready = text.lines().filter_map(|line| line.strip_suffix(" True"));
        ready.map(str::to_owned).collect()
    };
    let text = weir.kubectl_until(&PODS, |text| {
        let ready = parse(text);
        text.lines().count() == count && ready.len() == count && wanted(&ready)
    });
    parse(&text)
}

/// Deletes the service and waits until nothing of it is left, neither object nor process.
fn goes_away(weir: &Instance, name: &str) {
    weir.kubectl_ok(&["delete", "llmisvc", name, "--wait=false"]);
    let kinds = "llmisvc,deploy,rs,lws,controllerrevisions,pods,svc,endpointslices,httproutes,secrets,\
                 roles,rolebindings,serviceaccounts";
    let words = ["get", kinds, "-o", "name"];
    weir.kubectl_until(&words, |text| !text.contains(name));
    let left: Vec<String> = processes_of(&weir.data)
        .into_iter()
        .filter(|line| !line.contains(" up "))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn prefill_and_decode_survive_the_death_of_any_one_process() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let weir = start(dir.path(), "prefill-decode");
    assert!(answers(&weir, "prefill-decode"), "{}", weir.output());
    let before = ready(&weir, 3, |_| true);
    // The engine of a decode pod listens behind its sidecar.
    let kinds: [&[&str]; 3] = [
        &[" engine serve", "--port 8001"],
        &[" sidecar "],
        &[" engine serve", "--port 8000"],
    ];
    let restarts = [
        "get",
        "pods",
        "-o",
        "jsonpath={.items[*].status['containerStatuses','initContainerStatuses'][*].restartCount}",
    ];
    for (turn, words) in kinds.into_iter().enumerate() {
        kill_process(&processes(&weir, words)[0]);
        weir.kubectl_until(&restarts, |text| text.matches('1').count() == turn + 1);
        assert_eq!(ready(&weir, 3, |_| true), before, "{words:?}");
        assert!(answers(&weir, "prefill-decode"), "{words:?}");
    }
    goes_away(&weir, "prefill-decode");
}

#[test]
fn groups_of_nodes_answer_and_go_away() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let weir = start(dir.path(), "multi-node");
    assert!(answers(&weir, "multi-node"), "{}", weir.output());
    let pods = ready(&weir, 4, |_| true);
    let names: Vec<&str> = pods
        .iter()
        .filter_map(|pod| pod.split(' ').next())
        .collect();
    let expected = ["0", "0-1", "1", "1-1"].map(|end| format!("multi-node-lws-{end}"));
    assert_eq!(names, expected);
    goes_away(&weir, "multi-node");
}

#[test]
fn a_group_of_nodes_is_made_anew_whichever_of_its_processes_dies() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let weir = start(dir.path(), "multi-node");
    let before = ready(&weir, 4, |_| true);
    // A worker of one group, and the leader of the other.
    let worker = &processes(&weir, &[" engine serve", "--headless"])[0];
    let mut words = worker
        .split(' ')
        .skip_while(|word| *word != "--master-addr");
    let its_leader = format!("--master-addr {} ", words.nth(1).unwrap());
    let leaders = processes(&weir, &[" engine serve", "--node-rank 0"]);
    let other = leaders
        .iter()
        .find(|line| !line.contains(&its_leader))
        .unwrap();
    kill_process(worker);
    kill_process(other);
    ready(&weir, 4, |ready| ready.is_disjoint(&before));
    assert!(answers(&weir, "multi-node"));
}

/// It has no router, so that its Service is where requests go.
#[test]
fn the_guide_s_multi_node_example_answers_at_its_service() {
    let Some(manifest) = shared("guide/6-multi-node.yaml") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut weir = Instance::start(&dir.path().join("d"), &[&manifest], &[]);
    let ready = weir.await_line("ready    llama-405b");
    let url = ready.split_whitespace().last().unwrap();
    assert!(url.starts_with("http://127."), "{ready}");
    assert!(answers_at(url, "llama-405b"), "{ready}");
}
