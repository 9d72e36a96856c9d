//! The cost of a simulated engine that nobody asks anything: many of them run on one machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::instance::program;

struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Engine {
    /// How often any of its threads has run.
    fn switches(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        tasks
            .flatten()
            .map(|task| std::fs::read_to_string(task.path().join("status")).unwrap())
            .flat_map(|status| {
                status
                    .lines()
                    .filter_map(|line| line.split_once("_ctxt_switches:"))
                    .map(|(_, count)| count.trim().parse::<u64>().unwrap())
                    .collect::<Vec<_>>()
            })
            .sum()
    }

    /// Memory of its own in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

#[test]
fn an_idle_engine_does_nothing_and_is_small() {
    let child = Command::new(program())
        .args(["engine", "serve", "m", "--port", "0", "--host", "127.0.0.1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut engine = Engine(child);
    let log = BufReader::new(engine.0.stderr.take().unwrap());
    assert!(
        log.lines()
            .map_while(Result::ok)
            .any(|line| line.contains("Simulated engine serves"))
    );
    // Threads that have just started may run once more; periodic work never stops.
    let quiet = (0..5).any(|_| {
        let before = engine.switches();
        std::thread::sleep(Duration::from_secs(2));
        engine.switches() == before
    });
    assert!(quiet, "an idle engine works");
    let memory = engine.memory();
    assert!(memory < 15 << 10, "an idle engine holds {memory} KiB");
}
