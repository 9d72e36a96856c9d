//! Names and buckets of the engine's metrics.

/// Requests that run now.
pub const RUNNING: &str = "vllm:num_requests_running";
/// Requests that wait now.
pub const WAITING: &str = "vllm:num_requests_waiting";
/// Share of the KV cache in use, 0 to 1.
pub const KV_USAGE: &str = "vllm:kv_cache_usage_perc";
/// The same under the name of older engines.
pub const KV_USAGE_OLD: &str = "vllm:gpu_cache_usage_perc";
/// The cache's configuration as labels.
pub const CACHE_CONFIG: &str = "vllm:cache_config_info";
/// Loaded adapters as labels; the sample with the largest value is the current one.
pub const LORA_INFO: &str = "vllm:lora_requests_info";
/// Tokens of prompts.
pub const PROMPT_TOKENS: &str = "vllm:prompt_tokens_total";
/// Tokens generated.
pub const GENERATION_TOKENS: &str = "vllm:generation_tokens_total";
/// Requests that ended, by `finished_reason`.
pub const SUCCESS: &str = "vllm:request_success_total";
/// Tokens looked up in the prefix cache.
pub const PREFIX_QUERIES: &str = "vllm:prefix_cache_queries_total";
/// Tokens found in the prefix cache.
pub const PREFIX_HITS: &str = "vllm:prefix_cache_hits_total";
/// Requests that lost their blocks and began again.
pub const PREEMPTIONS: &str = "vllm:num_preemptions_total";
/// Requests that a bounded queue refused.
pub const REJECTIONS: &str = "vllm:admission_rejections_total";
/// Time from arrival to the first token.
pub const TTFT: &str = "vllm:time_to_first_token_seconds";
/// Time between tokens.
pub const ITL: &str = "vllm:inter_token_latency_seconds";
/// Time from arrival to the end.
pub const E2E: &str = "vllm:e2e_request_latency_seconds";
/// Time in the queue.
pub const QUEUE_TIME: &str = "vllm:request_queue_time_seconds";
/// Time from the queue's end to the end.
pub const INFERENCE_TIME: &str = "vllm:request_inference_time_seconds";
/// Time from the queue's end to the first token.
pub const PREFILL_TIME: &str = "vllm:request_prefill_time_seconds";
/// Time from the first token to the end.
pub const DECODE_TIME: &str = "vllm:request_decode_time_seconds";
/// Prompt tokens of a request.
pub const REQUEST_PROMPT: &str = "vllm:request_prompt_tokens";
/// Generated tokens of a request.
pub const REQUEST_GENERATION: &str = "vllm:request_generation_tokens";
/// Limit of generated tokens of a request.
pub const REQUEST_MAX: &str = "vllm:request_params_max_tokens";

/// Waiting requests by `reason`, one of [`WAITING_REASONS`].
pub const WAITING_BY_REASON: &str = "vllm:num_requests_waiting_by_reason";
/// 1 for the state that the engine is in, by `sleep_state`, one of [`SLEEP_STATES`].
pub const SLEEP_STATE: &str = "vllm:engine_sleep_state";
/// Tokens of prompts by where their blocks came from.
pub const PROMPT_BY_SOURCE: &str = "vllm:prompt_tokens_by_source_total";
/// Tokens of prompts found in a cache.
pub const PROMPT_CACHED: &str = "vllm:prompt_tokens_cached_total";
/// The same by the kind of memory.
pub const PROMPT_CACHED_BY_SOURCE: &str = "vllm:prompt_tokens_cached_by_source_total";
/// Tokens looked up in the caches of other engines.
pub const EXTERNAL_QUERIES: &str = "vllm:external_prefix_cache_queries_total";
/// Tokens found in the caches of other engines.
pub const EXTERNAL_HITS: &str = "vllm:external_prefix_cache_hits_total";
/// Items looked up in the cache of images and the like.
pub const MM_QUERIES: &str = "vllm:mm_cache_queries_total";
/// Items found there.
pub const MM_HITS: &str = "vllm:mm_cache_hits_total";
/// Time for each token after the first, of a request.
pub const REQUEST_PER_TOKEN: &str = "vllm:request_time_per_output_token_seconds";
/// Most tokens that one of a request's answers has.
pub const REQUEST_LONGEST: &str = "vllm:request_max_num_generation_tokens";
/// Prompt tokens of a request that were computed, not found in a cache.
pub const REQUEST_COMPUTED: &str = "vllm:request_prefill_kv_computed_tokens";
/// How often a request lost its blocks.
pub const REQUEST_PREEMPTIONS: &str = "vllm:request_num_preemptions";
/// Answers that a request asked for.
pub const REQUEST_N: &str = "vllm:request_params_n";

/// Why requests wait.
pub const WAITING_REASONS: [&str; 2] = ["capacity", "deferred"];
/// States of the engine.
pub const SLEEP_STATES: [&str; 3] = ["awake", "weights_offloaded", "discard_all"];
/// Where the blocks of prompts come from.
pub const PROMPT_SOURCES: [&str; 3] = ["local_compute", "local_cache_hit", "external_kv_transfer"];
/// The kinds of memory that hold cached blocks.
pub const CACHE_SOURCES: [&str; 5] = ["device", "host", "p2p", "disk", "external_unspecified"];

/// Reasons for which a request ends, all present from the start.
pub const FINISHED: [&str; 5] = ["stop", "length", "abort", "error", "repetition"];

/// Upper bounds of the time to first token.
pub const BUCKETS_TTFT: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Upper bounds of the time between tokens.
pub const BUCKETS_ITL: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// Upper bounds of the times of whole requests.
pub const BUCKETS_REQUEST: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
/// Upper bounds of the number of answers.
pub const BUCKETS_N: [f64; 5] = [1.0, 2.0, 5.0, 10.0, 20.0];
/// Upper bounds of the number of preemptions.
pub const BUCKETS_PREEMPTIONS: [f64; 7] = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];
/// Upper bounds of token counts: 1, 2, 5 times the powers of ten not above `window`.
#[must_use]
pub fn token_buckets(window: u64) -> Vec<f64> {
    let mut bounds = Vec::new();
    let mut power: u64 = 1;
    loop {
        for step in [1, 2, 5] {
            match power.checked_mul(step) {
                #[expect(clippy::cast_precision_loss, reason = "windows are far below 2^53")]
                Some(bound) if bound <= window => bounds.push(bound as f64),
                _ => return bounds,
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_buckets_end_at_the_window() {
        let bounds = token_buckets(2048);
        assert_eq!(bounds.first(), Some(&1.0));
        assert_eq!(bounds.last(), Some(&2000.0));
        assert_eq!(bounds.len(), 11);
        assert!(token_buckets(0).is_empty());
    }
}
