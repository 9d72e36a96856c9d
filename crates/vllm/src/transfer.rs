//! Names of split serving: parameters, headers, finish reasons; and what clients must not send.

/// Field of a request or an answer that carries the transfer parameters.
pub const KV_TRANSFER_PARAMS: &str = "kv_transfer_params";
/// The same for encoder outputs.
pub const EC_TRANSFER_PARAMS: &str = "ec_transfer_params";

/// Parameter: this leg computes the prompt for another engine.
pub const DO_REMOTE_DECODE: &str = "do_remote_decode";
/// Parameter: this leg fetches the prompt from another engine.
pub const DO_REMOTE_PREFILL: &str = "do_remote_prefill";
/// Parameter: id of the engine that holds the blocks.
pub const REMOTE_ENGINE_ID: &str = "remote_engine_id";
/// Parameter: the blocks.
pub const REMOTE_BLOCK_IDS: &str = "remote_block_ids";
/// Parameter: host of the side channel.
pub const REMOTE_HOST: &str = "remote_host";
/// Parameter: port of the side channel.
pub const REMOTE_PORT: &str = "remote_port";

/// Header: the prefill worker that the picker chose.
pub const PREFILL_HEADER: &str = "x-prefiller-host-port";
/// Header: the encode workers that the picker chose.
pub const ENCODE_HEADER: &str = "x-encoder-hosts-ports";
/// Header: the data-parallel rank that the picker chose.
pub const RANK_HEADER: &str = "x-data-parallel-host-port";
/// Header: the endpoint that the picker chose.
pub const DESTINATION_HEADER: &str = "x-gateway-destination-endpoint";

/// Headers that only parts of the platform may send to an engine or its sidecar.
pub const STRIP_HEADERS: [&str; 7] = [
    PREFILL_HEADER,
    "x-prefiller-url",
    ENCODE_HEADER,
    "x-kv-cache-source-host-port",
    RANK_HEADER,
    "x-data-parallel-rank",
    DESTINATION_HEADER,
];

/// Fields of a body that only parts of the platform may send: at the top level, under `vllm_xargs` and under
/// `sampling_params.extra_args`.
pub const STRIP_FIELDS: [&str; 2] = [KV_TRANSFER_PARAMS, EC_TRANSFER_PARAMS];

/// Header by which a simulated answer is known.
pub const SIMULATED_HEADER: &str = "x-weir-engine";
/// Its value.
pub const SIMULATED: &str = "simulated";
