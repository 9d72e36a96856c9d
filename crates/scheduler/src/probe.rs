//! How long each plugin takes: measured by whoever owns the clock.

use std::fmt;
use std::time::Duration;

/// Takes the time of plugins. Without one nothing is measured.
pub trait Probe: fmt::Debug + Sync {
    /// The time now, of a monotonic clock.
    fn now(&self) -> Duration;

    /// Takes note that a plugin, an index of the configuration's, took some time.
    fn took(&self, point: ExtensionPoint, plugin: usize, time: Duration);
}

/// Where a plugin is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExtensionPoint {
    /// Makes data about the request.
    DataProducer,
    /// May deny the request.
    Admission,
    /// Says which profiles run.
    ProfilePicker,
    /// Removes candidates.
    Filter,
    /// Scores candidates.
    Scorer,
    /// Takes one.
    Picker,
    /// Takes note of where the request goes.
    PreRequest,
}

impl ExtensionPoint {
    /// Value of the metrics' label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::DataProducer => "DataProducer",
            Self::Admission => "Admission",
            Self::ProfilePicker => "ProfilePicker",
            Self::Filter => "Filter",
            Self::Scorer => "Scorer",
            Self::Picker => "Picker",
            Self::PreRequest => "PreRequest",
        }
    }
}

/// Runs a plugin, with its time taken if somebody wants to know.
pub(crate) fn timed<T>(
    probe: Option<&dyn Probe>,
    point: ExtensionPoint,
    plugin: usize,
    run: impl FnOnce() -> T,
) -> T {
    let Some(probe) = probe else { return run() };
    let begun = probe.now();
    let result = run();
    probe.took(point, plugin, probe.now().saturating_sub(begun));
    result
}
