//! What `render`, `validate` and `explain` have in common: files, and what only a cluster would know.

use std::io::Write;
use std::path::PathBuf;

use weir_local::files::{self, Source};
use weir_manifest::Document;
use weir_review::offline::Given;
use weir_review::{Finding, Severity};

use crate::live::{self, Seen};

/// What only a cluster knows.
#[derive(clap::Args)]
#[command(next_help_heading = "What a cluster would know")]
pub(crate) struct Cluster {
    /// Namespace of documents that name none [default: that of the context, else default]
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Takes from the cluster of this kubeconfig context what the files do not have; only reads there
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Served API versions, comma-separated or given more than once [default: those of the cluster, else
    /// gateway.networking.k8s.io/v1, inference.networking.k8s.io/v1, leaderworkerset.x-k8s.io/v1]
    #[arg(long, value_name = "GROUP/VERSION", value_delimiter = ',')]
    api_versions: Option<Vec<String>>,
    /// The default gateway [default: that of inferenceservice-config, else kserve/kserve-ingress-gateway]
    #[arg(long, value_name = "NS/NAME", value_parser = gateway)]
    gateway: Option<(String, String)>,
    /// Whether pods serve TLS [default: as inferenceservice-config says, else false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    tls: Option<bool>,
    /// Namespace of shared configs and of inferenceservice-config
    #[arg(long, value_name = "NS", default_value_t = Given::default().system_namespace)]
    system_namespace: String,
    /// Prefix of the names of presets
    #[arg(long, value_name = "PREFIX", default_value_t = Given::default().config_prefix)]
    config_prefix: String,
}

fn gateway(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write it as NAMESPACE/NAME".to_owned()),
    }
}

impl Cluster {
    /// The facts, and what the cluster adds to `sources`.
    pub(crate) fn look(self, sources: &[Source]) -> Result<(Given, Vec<Document>), String> {
        let seen = match &self.context {
            Some(context) => {
                let namespace = self.namespace.as_deref();
                let documents = sources.iter().map(|source| &source.document);
                live::look(context, namespace, &self.system_namespace, documents)?
            }
            None => Seen::default(),
        };
        let defaults = Given::default();
        let given = Given {
            namespace: self
                .namespace
                .or(seen.namespace)
                .unwrap_or(defaults.namespace),
            system_namespace: self.system_namespace,
            config_prefix: self.config_prefix,
            api_versions: self
                .api_versions
                .or(seen.api_versions)
                .unwrap_or(defaults.api_versions),
            gateway: self.gateway,
            tls: self.tls,
        };
        Ok((given, seen.documents))
    }
}

/// Reads files and directories; what is wrong with each of them comes back as text.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Source>, Vec<String>> {
    files::read(paths).map_err(|errors| {
        let words = |error: &files::Error| weir_local::report::chain(error);
        errors.iter().map(words).collect()
    })
}

/// Says what is wrong, a line each.
#[expect(clippy::print_stderr, reason = "the output of a failed command")]
pub(crate) fn complain<T: std::fmt::Display>(problems: impl IntoIterator<Item = T>) {
    for problem in problems {
        eprintln!("error: {problem}");
    }
}

/// Writes the result. A reader that has enough, such as `head`, is no failure of ours.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Reads what can be read, and says of each other file what is wrong with it.
pub(crate) fn read_each(paths: &[PathBuf]) -> (Vec<Source>, Vec<Finding>) {
    let (sources, errors) = files::read_each(paths);
    let of = |error: &files::Error| match error {
        files::Error::Parse(error) => Finding {
            position: Some(error.position),
            ..finding(error.source_name.clone(), error.what.clone())
        },
        other => finding(String::new(), weir_local::report::chain(other)),
    };
    let findings = errors.iter().map(of).collect();
    (sources, findings)
}

/// A finding about a file as a whole.
pub(crate) fn finding(source: String, message: String) -> Finding {
    Finding {
        source,
        position: None,
        path: String::new(),
        message,
        hint: String::new(),
        severity: Severity::Error,
    }
}

/// Reviews services and configs. What else stands in the files is of no interest: a kind of an operator, a
/// kustomization.
pub(crate) fn review_ours(sources: &[Source]) -> Vec<Finding> {
    let documents = sources.iter().map(|source| &source.document);
    let ours = documents.filter(|document| {
        let group = document.value["apiVersion"].as_str().unwrap_or_default();
        group.starts_with(weir_api::names::GROUP) || document.value["kind"] == "List"
    });
    weir_review::review(ours, &weir_review::Options::default())
}
