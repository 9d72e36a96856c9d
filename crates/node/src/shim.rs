//! The process between the node and a container, `weir node-shim -- PROGRAM ARG…`.
//!
//! The shim is single-threaded, leads a session of its own, blocks SIGTERM and SIGINT and is a child
//! subreaper, so that every process a container starts ends up below it. Its standard input is a pipe
//! from the node: the line `term` sends SIGTERM to the container, `kill` and the end of the pipe (the
//! node is gone) end everything. The shim ends with the container's status, 128 + N after signal N.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};

use crate::processes::descendants;

const KILLED: u8 = 137;

/// Runs the shim until the container and all its descendants have ended.
#[expect(
    clippy::print_stderr,
    reason = "the container's log is the only place to say it"
)]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    match run(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            eprintln!("container not started: {message}");
            ExitCode::from(126)
        }
    }
}

fn run(arguments: Vec<OsString>) -> Result<u8, String> {
    let mut words = arguments.into_iter();
    if words.next().is_none_or(|word| word != "--") {
        return Err("usage: weir node-shim -- PROGRAM [ARG…]".to_owned());
    }
    let said = |what: &str, error: Errno| format!("{what}: {error}");
    // A process that already leads a group cannot make a session; nothing depends on it then.
    let _ = setsid();
    let mut blocked = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        blocked.add(signal);
    }
    blocked
        .thread_block()
        .map_err(|error| said("cannot block signals", error))?;
    set_child_subreaper(true).map_err(|error| said("cannot adopt orphans", error))?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| said("cannot watch children", error))?;
    let program = std::env::current_exe().map_err(|error| format!("no program path: {error}"))?;
    let child = Command::new(program)
        .arg("node-stage")
        .arg("--ppid")
        .arg(std::process::id().to_string())
        .arg("--")
        .args(words)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start the second stage: {error}"))?;
    let main = Pid::from_raw(i32::try_from(child.id()).map_err(|error| error.to_string())?);
    let status = attend(main, &signals);
    let _ = killpg(main, Signal::SIGKILL);
    end_descendants();
    status
}

/// Waits for the container's end or the order to end it.
fn attend(main: Pid, signals: &SignalFd) -> Result<u8, String> {
    let mut input = std::io::stdin();
    let mut line = Vec::new();
    loop {
        if let Some(status) = reap(main) {
            return Ok(status);
        }
        let (readable, hung) = {
            let stdin = input.as_fd();
            let mut sources = [
                PollFd::new(stdin, PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut sources, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(format!("cannot wait: {error}")),
            }
            let happened = sources[0].revents().unwrap_or(PollFlags::empty());
            (happened.contains(PollFlags::POLLIN), !happened.is_empty())
        };
        while let Ok(Some(_)) = signals.read_signal() {}
        if !readable && !hung {
            continue;
        }
        let mut bytes = [0; 64];
        match input.read(&mut bytes) {
            Ok(0) => return Ok(KILLED),
            Ok(count) => line.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(KILLED),
        }
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let word: Vec<u8> = line.drain(..=end).collect();
            match word.as_slice() {
                b"term\n" => {
                    let _ = kill(main, Signal::SIGTERM);
                }
                b"kill\n" => return Ok(KILLED),
                _ => {}
            }
        }
        line.truncate(64);
    }
}

/// Collects every child that has ended; the container's status when it is among them.
fn reap(main: Pid) -> Option<u8> {
    let mut status = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == main => {
                status = Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                status = Some(128u8.saturating_add(u8::try_from(signal as i32).unwrap_or(0)));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return status,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return status,
        }
    }
}

/// Kills every process below this one until there is none. A process that made a session of its own
/// is still a descendant, since this one adopts orphans.
fn end_descendants() {
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
        for pid in descendants(std::process::id()) {
            if let Ok(pid) = i32::try_from(pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the shim has one thread and no runtime"
        )]
        std::thread::sleep(Duration::from_millis(5));
    }
}
