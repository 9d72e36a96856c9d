//! The second stage of a container's start, `weir node-stage --ppid N -- PROGRAM ARG…`.
//!
//! It asks the kernel to kill this process when its parent, the shim, dies, checks that the parent
//! is still the shim, and becomes the program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;

/// Runs the stage; returns only when the program could not be started.
#[expect(
    clippy::print_stderr,
    reason = "the container's log is the only place to say it"
)]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut words = arguments.into_iter();
    let flag = words.next();
    let parent = words
        .next()
        .and_then(|word| word.to_str()?.parse::<i32>().ok());
    let separator = words.next();
    let (Some(parent), Some(program), true, true) = (
        parent,
        words.next(),
        flag.is_some_and(|word| word == "--ppid"),
        separator.is_some_and(|word| word == "--"),
    ) else {
        eprintln!("usage: weir node-stage --ppid N -- PROGRAM [ARG…]");
        return ExitCode::from(2);
    };
    if let Err(error) = set_pdeathsig(Signal::SIGKILL) {
        eprintln!("cannot ask to be killed with the parent: {error}");
        return ExitCode::from(126);
    }
    // The parent may have died before the request.
    if getppid().as_raw() != parent {
        return ExitCode::from(137);
    }
    // The shim's mask would otherwise be the program's.
    if let Err(error) = SigSet::all().thread_unblock() {
        eprintln!("cannot unblock signals: {error}");
        return ExitCode::from(126);
    }
    let error = Command::new(&program).args(words).exec();
    eprintln!("cannot start {}: {error}", program.display());
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    })
}
