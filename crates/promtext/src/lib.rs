//! Prometheus text: reads a page in place, writes classic text and OpenMetrics.
