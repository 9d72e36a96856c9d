//! Every word that a user of `weir up` sees, and the exit status. Elsewhere an outcome is a value.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;

pub use weir_runtime::errors::chain;

/// Lines for a person, on standard error except for the last ones, which are the result.
pub struct Report {
    terminal: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
        }
    }
}

impl Report {
    /// Which engine answers and why, and where the state is.
    pub fn started(&self, engine: &str, data_dir: &Path, api: SocketAddr, listen: SocketAddr) {
        self.line(&format!("engine   {engine}"));
        self.line(&format!("state    {}", data_dir.display()));
        self.line(&format!("api      https://{api}"));
        self.line(&format!("gateway  http://{listen}"));
    }

    /// One more object was applied.
    pub fn applied(&self, kind: &str, name: &str) {
        self.line(&format!("applied  {kind} {name}"));
    }

    /// An object was deleted, since its document vanished from a file.
    pub fn deleted(&self, kind: &str, name: &str) {
        self.line(&format!("deleted  {kind} {name}"));
    }

    /// The watched files are wrong, so that nothing was done.
    pub fn kept(&self) {
        self.line("kept     what is served stays as it is until the files are right");
    }

    /// What a service still waits for.
    pub fn awaited(&self, service: &str, what: &str) {
        self.line(&format!("waiting  {service}: {what}"));
    }

    /// A service is Ready: its URL and a command that can be pasted.
    pub fn ready(&self, service: &str, url: &str, model: &str) {
        self.result(&format!("ready    {service}  {url}"));
        self.result(&format!(
            "\n  curl {url}/v1/chat/completions -H 'content-type: application/json' \\\n    -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n"
        ));
    }

    /// A service is Ready, but has neither route nor Service.
    pub fn ready_without_address(&self, service: &str, model: &str) {
        self.result(&format!(
            "ready    {service}  serves {model:?} to whoever knows the addresses of its pods"
        ));
    }

    /// How to reach the API with Kubernetes tools.
    pub fn kubeconfig(&self, path: &Path) {
        self.result(&format!("export KUBECONFIG={}", path.display()));
    }

    /// A failure; causes follow the message after a colon.
    pub fn failed(&self, error: &dyn std::error::Error) {
        self.line(&format!("error: {}", chain(error)));
    }

    /// A failure that is text already.
    pub fn problem(&self, text: &str) {
        self.line(&format!("error: {text}"));
    }

    /// Everything is being stopped.
    pub fn stopping(&self) {
        self.line("stopping");
    }

    fn line(&self, text: &str) {
        // A closed terminal must not end what is being served.
        let _ = writeln!(io::stderr(), "{}", clean(text, self.terminal));
    }

    fn result(&self, text: &str) {
        let mut out = io::stdout();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// Drops control characters other than line ends, so that a manifest cannot drive the terminal.
fn clean(text: &str, terminal: bool) -> String {
    if !terminal {
        return text.to_owned();
    }
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect()
}
