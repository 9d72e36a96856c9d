//! The process between the node and a container, so that nothing outlives the node.
//!
//! It is single-threaded, leads its group, blocks SIGTERM and SIGINT, adopts orphans of its
//! container, and reads a pipe from the node as its stdin: the end of the pipe means that the node is
//! gone. It ends only when its container and every descendant of it have ended.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Status of a shim that could not do its work.
pub const FAILED: u8 = 125;

/// Line on stdin that asks the container to end.
pub const TERMINATE: &str = "term\n";
/// Line on stdin that ends everything at once.
pub const KILL: &str = "kill\n";

/// Runs the words as a container and returns its status; 128 + n for one that signal n ended.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    let prepared = signals
        .thread_block()
        .and_then(|()| set_child_subreaper(true))
        .and_then(|()| {
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        });
    let Ok(signal_fd) = prepared else {
        return ExitCode::from(FAILED);
    };
    let Ok(program) = std::env::current_exe() else {
        return ExitCode::from(FAILED);
    };
    let child = Command::new(program)
        .arg("node-stage")
        .arg(std::process::id().to_string())
        .args(words)
        .stdin(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return ExitCode::from(FAILED);
    };
    let status = watch(&mut child, &signal_fd);
    end_descendants();
    ExitCode::from(status.map_or(FAILED, code))
}

/// Waits for the container's end or the node's, whichever comes first.
fn watch(child: &mut Child, signals: &SignalFd) -> Option<ExitStatus> {
    let stdin = std::io::stdin();
    let mut open = true;
    loop {
        while matches!(signals.read_signal(), Ok(Some(_))) {}
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let mut waiting = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if open {
            waiting.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        if let Err(errno) = poll(&mut waiting, PollTimeout::NONE) {
            if errno != Errno::EINTR {
                return None;
            }
            continue;
        }
        let readable = waiting.get(1).and_then(PollFd::any) == Some(true);
        if !readable {
            continue;
        }
        let mut buffer = [0; 64];
        let words = match stdin.lock().read(&mut buffer) {
            Ok(count) => String::from_utf8_lossy(&buffer[..count]).into_owned(),
            Err(_) => String::new(),
        };
        if words.is_empty() || words.contains("kill") {
            open = false;
            let _ = child.kill();
        } else if words.contains("term") {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        }
    }
}

/// Kills and reaps what the container left behind, also what called `setsid`: as the subreaper this
/// process is the parent of every orphan.
fn end_descendants() {
    let begun = Instant::now();
    loop {
        let descendants = descendants(std::process::id());
        for pid in &descendants {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        let mut reaped = false;
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status.pid().is_none() {
                break;
            }
            reaped = true;
        }
        if descendants.is_empty() && !reaped || begun.elapsed() > Duration::from_secs(10) {
            return;
        }
        // A killed process takes a moment to become a zombie.
        let mut none: [PollFd<'_>; 0] = [];
        let _ = poll(&mut none, PollTimeout::from(2_u8));
    }
}

/// Returns all descendants of `root`, by the parent pids in `/proc`.
fn descendants(root: u32) -> Vec<u32> {
    let mut pairs = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything; the fields after it do not.
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(parent) = after
            .split_whitespace()
            .nth(1)
            .and_then(|p| p.parse::<u32>().ok())
        {
            pairs.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(
            pairs
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.split_off(1)
}

fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let number = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(number).unwrap_or(FAILED)
}
