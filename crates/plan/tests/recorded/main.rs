//! What is planned, beside what was recorded of the system that is replaced: objects, statuses, and what a change of
//! a service touches. The recordings come with the shared data; where they are not, the tests say that they were
//! skipped.
//!
//! What may differ is in the list beside each comparison, with the row of `product.md` section 2, the [FIX] or the
//! section of a control-plane text, or the line of the recordings' own README that settles it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "skipped tests and counts are said")]

#[path = "../../../compose/tests/goldens/allowed.rs"]
mod allowed;
mod cases;
#[path = "../../../compose/tests/goldens/differ.rs"]
mod differ;
mod exact;
mod files;
mod objects;
mod presets;
mod router;
mod statuses;
mod steps;
mod workloads;
