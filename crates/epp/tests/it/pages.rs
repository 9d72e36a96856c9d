//! What the metrics port shows.

use std::path::Path;

use crate::picker::{Picker, get};

#[tokio::test]
async fn the_metrics_port_serves_what_dashboards_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("endpoints.yaml"), "endpoints: []").unwrap();
    let config = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/exchanges/chat/config.yaml"
    ));
    let path = format!("path: {}/endpoints.yaml", dir.path().display());
    let text = std::fs::read_to_string(config)
        .unwrap()
        .replace("path: endpoints.yaml", &path);
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, text).unwrap();
    let picker = Picker::start(&config, &[]).await;
    let page = picker.page().await;
    assert!(
        page.contains("llm_d_epp_ready_endpoints{name=\"pool\"} 0"),
        "{page}"
    );
    assert_eq!(get(picker.metrics, "/debug/decisions").await, "[]\n");
    assert_eq!(
        get(picker.metrics, "/debug/plugins/state").await,
        "404 page not found\n"
    );
}
