//! Which metrics of an engine say how loaded it is.

use weir_promtext::Sample;
use weir_vllm::metrics as vllm;

/// Selects series: a name and labels that must have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSpec {
    /// Name of the series.
    pub name: String,
    /// Labels and their values.
    pub labels: Vec<(String, String)>,
}

/// Where the metrics of an engine are. What is `None` is not looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engine {
    /// Name of the engine, as pods' labels say it.
    pub name: String,
    /// Waiting requests.
    pub waiting: Option<MetricSpec>,
    /// Running requests.
    pub running: Option<MetricSpec>,
    /// Share of the KV cache in use, under any of these names: the first that is found.
    pub kv_usage: Vec<MetricSpec>,
    /// Adapters.
    pub lora: Option<MetricSpec>,
    /// Block size and number of blocks, as labels of one series.
    pub cache_info: Option<CacheInfo>,
    /// Block size, as a value.
    pub block_size: Option<MetricSpec>,
    /// Number of blocks, as a value.
    pub blocks: Option<MetricSpec>,
}

/// A series whose labels describe the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheInfo {
    /// The series.
    pub spec: MetricSpec,
    /// Label with the block size.
    pub block_size: String,
    /// Label with the number of blocks.
    pub blocks: String,
}

/// Name of the engine that pods run unless they say otherwise.
pub const VLLM: &str = "vllm";

impl MetricSpec {
    fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: Vec::new(),
        }
    }

    fn labelled(name: &str, label: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: vec![(label.to_owned(), value.to_owned())],
        }
    }

    /// Reads `name`, `name{label="value",other=value}`.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("not a valid metric specification: {text:?}");
        let trimmed = text.trim();
        let (name, inside) = match trimmed.split_once('{') {
            None => (trimmed, None),
            Some((name, rest)) => (name, Some(rest.strip_suffix('}').ok_or_else(invalid)?)),
        };
        let name = name.trim();
        if !valid_name(name) {
            return Err(invalid());
        }
        let mut labels = Vec::new();
        for pair in inside.unwrap_or("").split(',') {
            if pair.trim().is_empty() {
                continue;
            }
            let (label, value) = pair.split_once('=').ok_or_else(invalid)?;
            let label = label.trim();
            let value = value.trim();
            let value = match value.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"').ok_or_else(invalid)?,
                None => value,
            };
            if !valid_name(label) {
                return Err(invalid());
            }
            labels.push((label.to_owned(), value.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            labels,
        })
    }

    /// Whether a sample is one of the series.
    #[must_use]
    pub fn matches(&self, sample: &Sample<'_>) -> bool {
        sample.name == self.name
            && self
                .labels
                .iter()
                .all(|(label, value)| sample.label(label) == Some(value))
    }
}

impl std::fmt::Display for MetricSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        for (index, (label, value)) in self.labels.iter().enumerate() {
            let before = if index == 0 { "{" } else { "," };
            write!(f, "{before}{label}={value:?}")?;
        }
        if !self.labels.is_empty() {
            f.write_str("}")?;
        }
        Ok(())
    }
}

fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.'))
}

/// The engines that are known without configuration.
#[must_use]
pub fn builtin() -> Vec<Engine> {
    let plain = |name| Some(MetricSpec::plain(name));
    let cache = |name, block_size: &str, blocks: &str| {
        Some(CacheInfo {
            spec: MetricSpec::plain(name),
            block_size: block_size.to_owned(),
            blocks: blocks.to_owned(),
        })
    };
    let triton = |kind: &str| {
        Some(MetricSpec::labelled(
            "nv_trt_llm_request_metrics",
            "request_type",
            kind,
        ))
    };
    let triton_cache = |kind: &str| {
        MetricSpec::labelled(
            "nv_trt_llm_kv_cache_block_metrics",
            "kv_cache_block_type",
            kind,
        )
    };
    vec![
        Engine {
            name: VLLM.to_owned(),
            waiting: plain(vllm::WAITING),
            running: plain(vllm::RUNNING),
            kv_usage: vec![
                MetricSpec::plain(vllm::KV_USAGE),
                MetricSpec::plain(vllm::KV_USAGE_OLD),
            ],
            lora: plain(vllm::LORA_INFO),
            cache_info: cache(vllm::CACHE_CONFIG, "block_size", "num_gpu_blocks"),
            ..Engine::default()
        },
        Engine {
            name: "sglang".to_owned(),
            waiting: plain("sglang:num_queue_reqs"),
            running: plain("sglang:num_running_reqs"),
            kv_usage: vec![MetricSpec::plain("sglang:token_usage")],
            cache_info: cache("sglang:cache_config_info", "page_size", "num_pages"),
            ..Engine::default()
        },
        Engine {
            name: "trtllm-serve".to_owned(),
            waiting: plain("trtllm_num_requests_waiting"),
            running: plain("trtllm_num_requests_running"),
            kv_usage: vec![MetricSpec::plain("trtllm_kv_cache_utilization")],
            block_size: plain("trtllm_kv_cache_tokens_per_block"),
            blocks: plain("trtllm_kv_cache_max_blocks"),
            ..Engine::default()
        },
        Engine {
            name: "triton-tensorrt-llm".to_owned(),
            waiting: triton("waiting"),
            running: triton("scheduled"),
            kv_usage: vec![triton_cache("fraction")],
            block_size: Some(triton_cache("tokens_per")),
            blocks: Some(triton_cache("max")),
            ..Engine::default()
        },
        Engine {
            name: "triton".to_owned(),
            waiting: plain("nv_inference_pending_request_count"),
            running: plain("nv_inference_exec_count"),
            ..Engine::default()
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_read_as_written_in_queries() {
        for (text, written) in [
            ("a:b_c", "a:b_c"),
            ("a{x=\"1\"}", "a{x=\"1\"}"),
            (" a { x = 1 , y=\"z\" } ", "a{x=\"1\",y=\"z\"}"),
            ("a{}", "a"),
        ] {
            assert_eq!(MetricSpec::parse(text).unwrap().to_string(), written);
        }
        for text in ["", "a{b", "a{b}", "a}", "1a", "a b", "a{x=\"1}", "{x=1}"] {
            assert!(MetricSpec::parse(text).is_err(), "{text}");
        }
    }
}
