//! The simulated engine as a process: its cost when nobody asks anything, since many of them run on one
//! machine, and the part of a group that serves nobody.

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

#[test]
fn a_headless_engine_listens_to_nobody_and_ends_when_told() {
    // The port cannot be bound, and need not be.
    let child = Command::new(program())
        .args([
            "engine",
            "serve",
            "m",
            "--port",
            "1",
            "--nnodes",
            "2",
            "--node-rank",
            "1",
        ])
        .args(["--host", "192.0.2.1", "--headless"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut engine = Engine(child);
    let log = BufReader::new(engine.0.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("works headless")));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(engine.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(engine.0.wait().unwrap().success());
}
