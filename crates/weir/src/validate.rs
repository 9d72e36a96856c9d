//! `weir validate`: everything that is wrong in manifests, at once and without a cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};
use weir_review::offline::Offline;
use weir_review::{Finding, Severity};

use crate::inputs::{self, Cluster};

/// Says everything that is wrong in FILE..., each with its place, its field and what to do; status 1 when anything is.
///
/// Every document is held to its schema and its rules, and each service is combined with its configs as the
/// controller does it: missing configs, templates, rules of the effective spec and the engine's command line.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Manifest files, or directories of them (read one level deep); /dev/stdin for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A line for each finding, or one JSON list
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Takes warnings for errors
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// How findings are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// `FILE:LINE:COLUMN: FIELD: what is wrong; what to do`
    Text,
    /// A JSON list of objects with file, line, column, path, severity, message and hint
    Json,
}

/// Prints what is wrong; status 1 when an error is among it.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let (sources, unread) = inputs::read_each(&arguments.files);
    let documents = sources.iter().map(|source| &source.document);
    let options = weir_review::Options {
        warnings: true,
        ..weir_review::Options::default()
    };
    let mut findings = unread;
    findings.extend(weir_review::review(documents.clone(), &options));
    let (given, more) = match arguments.cluster.look(&sources) {
        Ok(seen) => seen,
        Err(problem) => {
            inputs::complain([problem]);
            return ExitCode::FAILURE;
        }
    };
    match Offline::read(documents.chain(&more), given) {
        Ok(world) => findings.extend(weir_review::effective::review(&world, &findings)),
        Err(error) => findings.push(inputs::finding(error.name.clone(), error.to_string())),
    }
    let order = |finding: &Finding| (finding.source.clone(), finding.position);
    findings.sort_by_key(order);
    let failed = findings
        .iter()
        .any(|finding| arguments.strict || finding.severity == Severity::Error);
    let text: String = match arguments.output {
        Output::Text => findings
            .iter()
            .map(|finding| format!("{finding}\n"))
            .collect(),
        Output::Json => {
            let list: Vec<Value> = findings.iter().map(as_json).collect();
            format!("{:#}\n", Value::from(list))
        }
    };
    inputs::print(&text);
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "file": finding.source,
        "line": finding.position.map(|position| position.line),
        "column": finding.position.map(|position| position.column),
        "path": finding.path,
        "severity": match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": finding.message,
        "hint": finding.hint,
    })
}
