//! The second step of a container's start: dies with its shim, then becomes the container.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;

/// Words: the shim's pid, the program, its arguments. Returns only when the program cannot run.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let mut words = words.into_iter();
    let shim = words
        .next()
        .and_then(|word| word.to_str()?.parse::<i32>().ok());
    let Some(program) = words.next() else {
        return ExitCode::from(crate::shim::FAILED);
    };
    let bound = set_pdeathsig(Signal::SIGKILL).and_then(|()| SigSet::all().thread_unblock());
    // The shim may have died before the death signal was set.
    if bound.is_err() || shim != Some(getppid().as_raw()) {
        return ExitCode::from(crate::shim::FAILED);
    }
    let error = Command::new(program).args(words).exec();
    tracing::error!(%error, "Container not started");
    ExitCode::from(127)
}
