//! Chooses the endpoint for a request: configuration, filters, scorers, pickers, flow control.
//!
//! Everything here is pure: a snapshot of endpoints and a request go in, a decision comes out; time and randomness are
//! arguments.
//!
//! - [`config`]: `EndpointPickerConfig`, read and completed.
//! - [`endpoint`]: endpoints and their load; [`request`]: what of a request counts; [`subset`]: candidates.
//! - [`scheduler`]: the decision, and what is noted when a request is sent; [`inflight`]: what is counted meanwhile.
//! - [`probe`]: how long each plugin takes.
//! - [`explain`]: the story of a decision; [`reject`]: the answer when there is none.
//! - [`flow`]: requests that wait in front of a full pool.
//! - [`report`]: values computed from an answer's token counts.
//! - [`data`]: what scraped pages say; [`saturation`]: how full a pool is.
//!
//! ```
//! use std::sync::Arc;
//! use weir_scheduler::config::Options;
//! use weir_scheduler::{Ask, Candidates, Config, Endpoint, Labels, LlmRequest, Scheduler, Snapshot};
//!
//! let config = Config::parse("plugins: [{type: random-picker}]", "epp.yaml", &Options::default())?;
//! let scheduler = Scheduler::new(Arc::new(config));
//! let address = "192.0.2.1:8000".parse()?;
//! let endpoint = Endpoint::new("default", "a", Some(0), address, Labels::default());
//! let pool = Snapshot::new(vec![Arc::new(endpoint)]);
//!
//! let request = LlmRequest::default();
//! let mut outcome = scheduler.schedule(&request, &pool, &Candidates::All, Ask::default())?;
//! assert_eq!(outcome.destination, "192.0.2.1:8000");
//! let account = scheduler.dispatch(&request, &mut outcome, std::time::Duration::ZERO);
//! assert_eq!(pool.endpoints()[0].live.requests_in_flight(), 1);
//! drop(account);
//! assert_eq!(pool.endpoints()[0].live.requests_in_flight(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admit;
pub mod config;
mod context;
pub mod data;
pub mod endpoint;
pub mod explain;
mod filter;
pub mod flow;
mod handler;
pub mod inflight;
pub mod labels;
mod pick;
mod prefix;
pub mod probe;
mod profile;
pub mod random;
pub mod reject;
pub mod report;
pub mod request;
pub mod saturation;
pub mod scheduler;
mod score;
mod session;
pub mod subset;

pub use config::{Config, ConfigErrors};
pub use context::{Prediction, PrefixMatch};
pub use endpoint::{Adapters, Endpoint, EndpointLoad, Labels, Live, Role, Snapshot};
pub use explain::Explain;
pub use inflight::Account;
pub use probe::{ExtensionPoint, Probe};
pub use random::Random;
pub use reject::{Code, DropReason, Rejection};
pub use request::{Headers, LlmRequest, Media, Prompt};
pub use saturation::PoolSaturation;
pub use scheduler::{Ask, Cached, Needs, Outcome, Scheduler};
pub use subset::Candidates;
