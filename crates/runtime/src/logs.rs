//! Structured logs on standard error.

mod zap;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub use zap::Times;

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// One JSON object a line, in the layout of llm-d's components.
    Zap(Times),
}

/// Starts logging at `level` (a `tracing` filter such as `info` or `weir_node=debug,warn`);
/// `WEIR_LOG` wins over it. Calling it again has no effect.
pub fn init(level: &str, format: Format) {
    let filter = std::env::var("WEIR_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are for eyes; in a log file they are noise that no search gets past.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // An error only says that a subscriber is installed already.
    let _ = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
        Format::Zap(times) => builder.event_format(zap::Lines(times)).try_init(),
    };
}
