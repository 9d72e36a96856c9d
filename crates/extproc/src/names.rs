//! Names of headers and metadata that the two sides agree on.

use weir_openai::shield::HEADERS;

/// Where the request goes: header of the request, and key in [`METADATA`].
pub const DESTINATION: &str = "x-gateway-destination-endpoint";
/// Namespace of the picker's dynamic metadata.
pub const METADATA: &str = "envoy.lb";
/// Key in [`METADATA`]: total score by address.
pub const SCORES: &str = "x-gateway-destination-endpoint-scores";
/// Key in [`METADATA`] of the response phase: the endpoint that answered.
pub const SERVED: &str = "x-gateway-destination-endpoint-served";
/// Tells conformance tests which endpoint answered.
pub const SERVED_TEST: &str = "x-conformance-test-served-endpoint";
/// Namespace of the hint which endpoints may be chosen.
pub const SUBSET_NAMESPACE: &str = "envoy.lb.subset_hint";
/// Key in [`SUBSET_NAMESPACE`].
pub const SUBSET: &str = "x-gateway-destination-endpoint-subset";
/// Id of a request.
pub const REQUEST_ID: &str = "x-request-id";
/// Why a request was dropped.
pub const DROPPED: &str = "x-llm-d-request-dropped-reason";
/// Marks responses that went through a picker.
pub const MARKER: &str = "x-went-into-resp-headers";
/// Objective of a request, and its older name.
pub const OBJECTIVE: [&str; 2] = [
    "x-llm-d-inference-objective",
    "x-gateway-inference-objective",
];
/// Whom to be fair to, and its older name.
pub const FAIRNESS: [&str; 2] = [
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
];
/// Model to put into the body, and its older name.
pub const REWRITE: [&str; 2] = ["x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"];

/// Goal for the first token, and its older name.
pub const TTFT_GOAL: [&str; 2] = ["x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"];

/// Names that are never mirrored: they are between client, gateway and picker.
const OWNED: [&str; 17] = [
    OBJECTIVE[0],
    OBJECTIVE[1],
    FAIRNESS[0],
    FAIRNESS[1],
    REWRITE[0],
    REWRITE[1],
    TTFT_GOAL[0],
    TTFT_GOAL[1],
    "x-llm-d-slo-tpot-ms",
    "x-slo-tpot-ms",
    "x-llm-d-video-fps",
    "x-llm-d-video-duration-seconds",
    "x-llm-d-video-resolution",
    DESTINATION,
    SUBSET,
    SERVED,
    DROPPED,
];

/// Says whether a header (in lower case) is the system's and not mirrored.
#[must_use]
pub fn owned(name: &str) -> bool {
    name == "content-length" || name.starts_with("x-") && OWNED.contains(&name)
}

/// Says whether a client must not send a header (in lower case), so that it is taken out of every request. The
/// destination is not among them: it is replaced.
#[must_use]
pub fn shielded(name: &str) -> bool {
    name.starts_with("x-") && name != DESTINATION && HEADERS.contains(&name)
}
