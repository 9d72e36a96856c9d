//! How long the plan of one service takes, its effective spec at hand: `cargo bench -p weir-plan`.
//!
//! A service of every shape, and all of upstream's samples, of which the slowest counts.

use divan::Bencher;
use serde_json::{Value, json};

#[path = "../tests/samples/read.rs"]
mod read;

use read::Sample;

fn main() {
    divan::main();
}

/// Our own, so that there is something to measure where the samples are not at hand.
fn shape(name: &str) -> Sample {
    let pod = json!({"containers": [{"name": "main", "image": "vllm/vllm-openai:v0.26.0"}]});
    let workload = json!({"template": pod, "parallelism": {"tensor": 2}});
    let group = json!({"template": pod, "worker": pod, "parallelism": {"data": 4, "dataLocal": 2}});
    let mut spec = match name {
        "one node" | "prefill and decode" => workload.clone(),
        _ => group.clone(),
    };
    match name {
        "prefill and decode" => spec["prefill"] = workload,
        "groups of both" => spec["prefill"] = group,
        _ => {}
    }
    spec["model"] = json!({"uri": "hf://org/base", "name": "org/base"});
    Sample {
        name: name.to_owned(),
        service: json!({"metadata": {"name": "llama"}, "spec": spec}),
        configs: Vec::new(),
    }
}

#[divan::bench(args = ["one node", "prefill and decode", "groups", "groups of both"])]
fn shapes(bencher: Bencher<'_, '_>, name: &str) {
    plan(bencher, &shape(name));
}

/// All samples, one after the other: the slowest column is that of the largest.
#[divan::bench(args = names())]
fn samples(bencher: Bencher<'_, '_>, name: &str) {
    if let Some(sample) = read::samples().iter().find(|sample| sample.name == name) {
        plan(bencher, sample);
    }
}

fn names() -> Vec<String> {
    let samples = read::samples();
    samples.into_iter().map(|sample| sample.name).collect()
}

fn plan(bencher: Bencher<'_, '_>, sample: &Sample) {
    // What is refused would be refused quickly.
    read::planned(sample, "demo").expect("is planned");
    let (identity, spec) = sample.effective("demo").expect("composes");
    let facts = read::facts();
    bencher.bench(|| -> Result<Vec<Value>, _> { weir_plan::workloads(&identity, &spec, &facts) });
}
