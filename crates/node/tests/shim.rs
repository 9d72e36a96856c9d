//! A container and everything it started end with the node, however the node ends.
//!
//! This program is the node, the shim and the second stage at once, by its first argument.

#![allow(clippy::disallowed_methods, reason = "a program without a runtime")]
#![allow(clippy::unwrap_used, reason = "a test without the harness")]

use std::ffi::OsString;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Far beyond what is needed; reached only when the test fails.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let rest = || arguments.iter().skip(2).cloned().collect::<Vec<_>>();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("node-shim") => weir_node::shim::main(rest()),
        Some("node-stage") => weir_node::stage::main(rest()),
        Some("node") => node(&rest()),
        _ => {
            killed_node_leaves_nothing();
            the_exit_status_is_the_containers();
            ExitCode::SUCCESS
        }
    }
}

fn this() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

fn shim(script: &str) -> Child {
    let mut command = this();
    command
        .args(["node-shim", "--", "/bin/sh", "-c", script])
        .stdin(Stdio::piped());
    command.spawn().unwrap()
}

/// Holds a container until it is killed.
fn node(rest: &[OsString]) -> ExitCode {
    let mut shim = shim(rest[0].to_str().unwrap());
    // `Child::wait` would close the pipe, which is the order to end.
    let _pipe = shim.stdin.take();
    let _ = shim.wait();
    ExitCode::SUCCESS
}

/// Processes with `mark` as a word of their command line.
fn count(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| {
            let mut words = line.split(|byte| *byte == 0);
            words.next().is_some_and(|word| word.ends_with(b"sleep"))
                && words.any(|word| word == mark.as_bytes())
        })
        .count()
}

fn until(mark: &str, wanted: usize) {
    let end = Instant::now() + LIMIT;
    while count(mark) != wanted {
        assert!(
            Instant::now() < end,
            "{} processes instead of {wanted}",
            count(mark)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn killed_node_leaves_nothing() {
    let mark = format!("7{}", std::process::id());
    let script = format!(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep {mark} & sleep {mark}' & sleep {mark}"
    );
    let mut node = this().args(["node", &script]).spawn().unwrap();
    until(&mark, 3);
    node.kill().unwrap();
    node.wait().unwrap();
    until(&mark, 0);
}

fn the_exit_status_is_the_containers() {
    for (script, wanted) in [
        ("exit 7", 7),
        ("kill -9 $$", 137),
        ("setsid sleep 71 & exit 0", 0),
    ] {
        let mut shim = shim(script);
        let _pipe = shim.stdin.take();
        assert_eq!(shim.wait().unwrap().code(), Some(wanted), "{script}");
    }
}
