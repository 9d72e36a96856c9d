//! How long one service takes, read already, with the presets of this program:
//! `cargo bench -p weir-compose --bench compose`.

use std::sync::Arc;

use divan::Bencher;
use serde_json::Value;
use weir_compose::{Combined, Globals, Naming, combine};

mod services;

fn main() {
    divan::main();
}

fn composed(service: &Value) -> Combined {
    let none = |_: &str, _: &str| -> Result<Option<Arc<Value>>, String> { Ok(None) };
    combine(service, &Globals::default(), &Naming::default(), none).expect("composes")
}

#[divan::bench(args = ["small", "largest sample", "everything"])]
fn one_service(bencher: Bencher<'_, '_>, name: &str) {
    let Some(service) = services::named(name) else {
        return;
    };
    bencher.bench(|| composed(&service));
}
