//! A container's process group, behind its shim.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use crate::env::Environment;
use crate::place;

/// A running container. Dropping it ends the container and its descendants at once.
pub(crate) struct Process {
    child: Child,
    orders: ChildStdin,
}

impl Process {
    /// Starts `argv` through the shim of `program`, with its output in `log`.
    pub(crate) fn start(
        program: &Path,
        argv: &[String],
        env: &Environment,
        directory: &Path,
        log: &Path,
    ) -> io::Result<Self> {
        if let Some(parent) = log.parent() {
            place::make_dir(parent)?;
        }
        if log.exists() {
            fs::rename(log, previous(log))?;
        }
        let output = place::open_log(log)?;
        let errors = output.try_clone()?;
        let mut child = Command::new(program)
            .arg("node-shim")
            .arg("--")
            .args(argv)
            .env_clear()
            .envs(env.iter())
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()?;
        let orders = child
            .stdin
            .take()
            .ok_or_else(|| io::Error::other("no pipe to the shim"))?;
        Ok(Self { child, orders })
    }

    /// Its shim, below which all of its processes are; `None` once it has ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end; the exit status as a shell gives it.
    pub(crate) async fn wait(&mut self) -> i32 {
        match self.child.wait().await {
            Ok(status) => status.code().unwrap_or(137),
            Err(_) => 137,
        }
    }

    /// Asks the container to end.
    pub(crate) async fn terminate(&mut self) {
        let _ = self.orders.write_all(b"term\n").await;
    }

    /// Ends the container and its descendants at once.
    pub(crate) async fn kill(&mut self) {
        let _ = self.orders.write_all(b"kill\n").await;
    }
}

/// Where the log of the run before goes.
fn previous(log: &Path) -> PathBuf {
    log.with_extension("previous.log")
}
