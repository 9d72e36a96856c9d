//! One running `weir up`, with its own port, data directory and clean end.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything in these tests may take before it counts as hanging.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The built program.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_weir")
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the shared data, or `None` after a loud word when it is absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let base =
        std::env::var_os("WEIR_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let file = base.join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("SKIPPED: {path} is not there (set WEIR_SHARED)");
    None
}

/// A running `weir up`.
pub(crate) struct Instance {
    child: Child,
    pub(crate) data: PathBuf,
    pub(crate) gateway: String,
    output: Arc<Mutex<String>>,
}

impl Instance {
    /// Starts `weir up` with the simulated engine on a free port; `data` is its directory.
    pub(crate) fn start(data: &Path, files: &[&Path], more: &[&str]) -> Self {
        let mut command = Command::new(program());
        command
            .arg("up")
            .args(files)
            .args(["--engine", "sim"])
            .args(more);
        Self::launch(data, &mut command)
    }

    /// Starts `command`, a `weir up`, on a free port; `data` is its directory.
    pub(crate) fn launch(data: &Path, command: &mut Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        for stream in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            let output = Arc::clone(&output);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut output = output.lock().unwrap();
                    output.push_str(&line);
                    output.push('\n');
                }
            });
        }
        let mut instance = Self {
            child,
            data: data.to_owned(),
            gateway: String::new(),
            output,
        };
        let line = instance.await_line("gateway  ");
        instance.gateway = line.trim_start_matches("gateway").trim().to_owned();
        instance
    }

    /// Everything that was printed so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits for a line that begins so, and returns it.
    pub(crate) fn await_line(&mut self, start: &str) -> String {
        self.await_line_within(start, LIMIT)
    }

    /// The same for what may take longer.
    pub(crate) fn await_line_within(&mut self, start: &str, limit: Duration) -> String {
        let begun = Instant::now();
        loop {
            if let Some(line) = self.output().lines().find(|line| line.starts_with(start)) {
                return line.to_owned();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("weir up ended with {status}:\n{}", self.output());
            }
            assert!(
                begun.elapsed() < limit,
                "no line {start:?} in:\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The kubeconfig of this instance.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// Runs `kubectl` against this instance.
    pub(crate) fn kubectl(&self, words: &[&str]) -> Output {
        Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(words)
            .env("HOME", &self.data)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs `kubectl`, which must succeed, and returns what it printed.
    pub(crate) fn kubectl_ok(&self, words: &[&str]) -> String {
        let output = self.kubectl(words);
        assert!(
            output.status.success(),
            "kubectl {words:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.output()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Repeats `kubectl` until what it prints fulfils `wanted`.
    pub(crate) fn kubectl_until(&self, words: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let output = self.kubectl(words);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && wanted(&text) {
                return text;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "kubectl {words:?} still prints:\n{text}{}\n{}",
                String::from_utf8_lossy(&output.stderr),
                self.output()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: Signal) -> std::process::ExitStatus {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "weir up does not end:\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the real `kubectl` is there; says so loudly when not.
pub(crate) fn has_kubectl() -> bool {
    let found = Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_ok();
    if !found {
        eprintln!("SKIPPED: kubectl is not on PATH");
    }
    found
}

/// Processes whose command line or environment names `data`, other than this test.
pub(crate) fn processes_of(data: &Path) -> Vec<String> {
    let needle = data.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let read = |name: &str| {
            String::from_utf8_lossy(&std::fs::read(entry.path().join(name)).unwrap_or_default())
                .replace('\0', " ")
        };
        let command = read("cmdline");
        if !command.is_empty() && (command.contains(&needle) || read("environ").contains(&needle)) {
            found.push(format!("{pid} {command}"));
        }
    }
    found
}

/// Sends an HTTP/1.1 request by hand over a new connection and returns status, headers and body.
pub(crate) fn post(url: &str, body: &str) -> (u16, String) {
    use std::io::Write;
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    (status, answer)
}
