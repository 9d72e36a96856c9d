//! A container's process group, behind its shim.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use crate::env::Environment;
use crate::log::Log;

/// How long the last words of a container may take once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running container. Dropping it ends the container and its descendants at once.
pub(crate) struct Process {
    child: Child,
    orders: ChildStdin,
    /// The one task that writes its log.
    log: JoinSet<()>,
}

impl Process {
    /// Starts `argv` through the shim of `program`, with its output in `log`.
    pub(crate) fn start(
        program: &Path,
        argv: &[String],
        env: &Environment,
        directory: &Path,
        log: Log,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg("node-shim")
            .arg("--")
            .args(argv)
            .env_clear()
            .envs(env.iter())
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let no_pipe = || io::Error::other("no pipe to the shim");
        let orders = child.stdin.take().ok_or_else(no_pipe)?;
        let out = child.stdout.take().ok_or_else(no_pipe)?;
        let err = child.stderr.take().ok_or_else(no_pipe)?;
        let mut writer = JoinSet::new();
        writer.spawn(async move { Box::pin(log.take(out, err)).await });
        Ok(Self {
            child,
            orders,
            log: writer,
        })
    }

    /// Its shim, below which all of its processes are; `None` once it has ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end; the exit status as a shell gives it.
    pub(crate) async fn wait(&mut self) -> i32 {
        let ended = self.child.wait().await;
        // Nothing below the shim is left to write, so that the pipes are at their end.
        let _ = tokio::time::timeout(LAST_WORDS, self.log.join_next()).await;
        match ended {
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
