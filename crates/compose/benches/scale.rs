//! Many services on one core: `cargo bench -p weir-compose --bench scale`.
//!
//! Each of 10,000 services has three base references of its own contents and is composed as the controller does
//! it. Printed are the time and the resident memory on the way: it must not grow with the number of services.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_compose::{Globals, Naming, combine};

const SERVICES: usize = 10_000;
const BASES: [&str; 3] = ["hardware", "tuning", "routing"];

fn base(name: &str, service: usize) -> Value {
    let spec = match name {
        "hardware" => json!({
            "parallelism": {"tensor": 1 + service % 8},
            "template": {"containers": [{
                "name": "main",
                "resources": {"limits": {"nvidia.com/gpu": (1 + service % 8).to_string()}},
            }]},
        }),
        "tuning" => json!({
            "template": {"containers": [{
                "name": "main",
                "args": ["--max-model-len", (4096 + service).to_string()],
                "env": [{"name": "OWNER", "value": "{{ .ObjectMeta.Name }}"}],
            }]},
        }),
        _ => json!({"router": {"route": {}, "gateway": {}, "scheduler": {}}}),
    };
    json!({"metadata": {"name": name, "namespace": "team"}, "spec": spec})
}

fn service(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("llm-{number}"), "namespace": "team"},
        "spec": {
            "model": {"uri": "hf://org/model", "name": format!("org/model-{number}")},
            "replicas": 2,
            "baseRefs": BASES.map(|name| json!({"name": name})),
        },
    })
}

/// Kilobytes, as the kernel has it; none on a system without `/proc`.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What this thread has been on a processor; the wall clock also counts what others did there meanwhile.
fn on_processor() -> Option<Duration> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    times
        .split(' ')
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

#[expect(clippy::print_stdout, reason = "a benchmark says what it found")]
fn main() {
    let globals = Globals::default();
    let naming = Naming::default();
    let start = (Instant::now(), on_processor().unwrap_or_default());
    let mut containers = 0;
    for number in 0..SERVICES {
        // As from a cache of watched objects.
        let bases = BASES.map(|name| (name, Arc::new(base(name, number))));
        let find = |namespace: &str, name: &str| -> Result<Option<Arc<Value>>, String> {
            let found = bases.iter().find(|(known, _)| *known == name);
            let found = found.filter(|_| namespace == "team");
            Ok(found.map(|(_, object)| Arc::clone(object)))
        };
        let service = service(number);
        let combined = combine(&service, &globals, &naming, find).expect("composes");
        // Used, and dropped as after a reconcile.
        let pod = &combined.effective.spec["template"];
        containers += pod["containers"].as_array().map_or(0, Vec::len);
        if number % (SERVICES / 5) == 0 || number + 1 == SERVICES {
            println!("{:>6} services, {:?} kB resident", number + 1, resident());
        }
    }
    let (wall, processor) = (start.0.elapsed(), on_processor().unwrap_or_default());
    let processor = processor.saturating_sub(start.1);
    assert_eq!(containers, SERVICES);
    println!(
        "{SERVICES} services x {} base references: {:.2} s of processor time, {:.2} s in all; {:.0} us each",
        BASES.len(),
        processor.as_secs_f64(),
        wall.as_secs_f64(),
        processor.as_secs_f64() * 1e6 / SERVICES as f64,
    );
}
