//! Names of the objects made for a service.

const LIMIT: usize = 63;
const HEAD: usize = 31;

/// `parent` + `suffix`, shortened to 63 characters by a hash of the parent when longer. Compatible with the
/// names of existing installations, so neither limit nor hash may change.
#[must_use]
pub fn child(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LIMIT {
        return format!("{parent}{suffix}");
    }
    if suffix.len() < HEAD {
        return format!(
            "{}{}{suffix}",
            prefix(parent, HEAD - suffix.len()),
            md5::hex(parent.as_bytes())
        );
    }
    let mut name = format!(
        "{}{}",
        prefix(parent, HEAD),
        md5::hex(format!("{parent}{suffix}").as_bytes())
    );
    let room = LIMIT.saturating_sub(name.len());
    name.push_str(prefix(suffix, room));
    name.truncate(
        name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
            .len(),
    );
    name
}

/// The first `length` bytes, fewer when that would split a character.
fn prefix(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The names of everything made for one service.
#[derive(Clone, Copy, Debug)]
pub struct ChildNames<'a> {
    service: &'a str,
}

macro_rules! child_names {
    ($($(#[$doc:meta])* $method:ident = $suffix:literal;)*) => {
        impl<'a> ChildNames<'a> {
            /// Names for the service `service`.
            #[must_use]
            pub fn new(service: &'a str) -> Self {
                Self { service }
            }

            $($(#[$doc])* #[must_use] pub fn $method(&self) -> String { child(self.service, $suffix) })*

            /// Every name of a namespaced child, with the method that gives it.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($method), self.$method())),*]
            }
        }
    };
}

child_names! {
    /// Primary Deployment, and its service account.
    deployment = "-kserve";
    /// Prefill Deployment.
    prefill_deployment = "-kserve-prefill";
    /// Primary LeaderWorkerSet.
    lws = "-lws";
    /// Prefill LeaderWorkerSet.
    prefill_lws = "-lws-prefill";
    /// Primary LeaderWorkerSet as upstream names it; also the service account of multi-node.
    upstream_lws = "-kserve-mn";
    /// Prefill LeaderWorkerSet as upstream names it; also the service account of multi-node prefill.
    upstream_prefill_lws = "-kserve-mn-prefill";
    /// Workload Service.
    workload_service = "-kserve-workload-svc";
    /// Service over prefill pods.
    prefill_service = "-kserve-prefill-svc";
    /// Headless Service over the pool's pods.
    headless_service = "-kserve-headless-svc";
    /// Role of the sidecar.
    role = "-kserve-role";
    /// RoleBinding of the sidecar.
    role_binding = "-kserve-rb";
    /// Role of the sidecar in multi-node.
    multi_node_role = "-kserve-mn-role";
    /// RoleBinding of the sidecar in multi-node.
    multi_node_role_binding = "-kserve-mn-rb";
    /// TLS Secret.
    tls_secret = "-kserve-self-signed-certs";
    /// ResourceClaimTemplate.
    resource_claim_template = "-managed-dra";
    /// Tokenizer Deployment and Service.
    tokenizer = "-tokenizer";
    /// HTTPRoute.
    route = "-kserve-route";
    /// InferencePool.
    pool = "-inference-pool";
    /// Service of the endpoint picker.
    picker_service = "-epp-service";
    /// Service account of the endpoint picker.
    picker_account = "-epp-sa";
    /// Role of the endpoint picker.
    picker_role = "-epp-role";
    /// RoleBinding of the endpoint picker.
    picker_role_binding = "-epp-rb";
    /// Deployment of the endpoint picker.
    picker_deployment = "-kserve-router-scheduler";
    /// HorizontalPodAutoscaler of the primary workload.
    hpa = "-kserve-hpa";
    /// HorizontalPodAutoscaler of the prefill workload.
    prefill_hpa = "-kserve-prefill-hpa";
    /// ScaledObject of the primary workload.
    scaled_object = "-kserve-keda";
    /// ScaledObject of the prefill workload.
    prefill_scaled_object = "-kserve-prefill-keda";
    /// Model metadata.
    model = "-model";
}

impl ChildNames<'_> {
    /// ClusterRoleBinding of the endpoint picker; the namespace is its parent.
    #[must_use]
    pub fn picker_cluster_role_binding(&self, namespace: &str) -> String {
        child(namespace, &format!("-{}-epp-auth-rb", self.service))
    }
}

/// MD5 (RFC 1321), only for names: existing installations use it.
mod md5 {
    const SHIFTS: [[u32; 4]; 4] = [
        [7, 12, 17, 22],
        [5, 9, 14, 20],
        [4, 11, 16, 23],
        [6, 10, 15, 21],
    ];

    /// The digest in lower-case hexadecimal.
    pub(super) fn hex(data: &[u8]) -> String {
        let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        let mut message = data.to_vec();
        message.push(0x80);
        while message.len() % 64 != 56 {
            message.push(0);
        }
        message.extend_from_slice(&(data.len() as u64).wrapping_mul(8).to_le_bytes());
        for block in message.chunks_exact(64) {
            let mut words = [0_u32; 16];
            for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
                *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            let [mut a, mut b, mut c, mut d] = state;
            for i in 0..64_usize {
                let (f, g) = match i / 16 {
                    0 => ((b & c) | (!b & d), i),
                    1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                    2 => (b ^ c ^ d, (3 * i + 5) % 16),
                    _ => (c ^ (b | !d), (7 * i) % 16),
                };
                let constant = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
                let sum = a
                    .wrapping_add(f)
                    .wrapping_add(constant)
                    .wrapping_add(words[g]);
                (a, d, c) = (d, c, b);
                b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
            }
            for (total, part) in state.iter_mut().zip([a, b, c, d]) {
                *total = total.wrapping_add(part);
            }
        }
        state
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_existing_installations() {
        let table = [
            ("llama", "-kserve", "llama-kserve"),
            (
                &"a".repeat(50),
                "-kserve-self-signed-certs",
                "aaaaaa6eb6a030bcce166534b95bc2ab45d9cf-kserve-self-signed-certs",
            ),
            (
                &"a".repeat(63),
                "-kserve",
                "aaaaaaaaaaaaaaaaaaaaaaaab06521f39153d618550606be297466d5-kserve",
            ),
            (
                &"b".repeat(70),
                "-inference-pool",
                "bbbbbbbbbbbbbbbbfafbbc49263ea398fb61346965d7dd98-inference-pool",
            ),
            (
                "lora-pvc-",
                &"x".repeat(60),
                "lora-pvc-57df73b68dd809bd5bc493a0f334076exxxxxxxxxxxxxxxxxxxxxx",
            ),
        ];
        for (parent, suffix, want) in table {
            assert_eq!(child(parent, suffix), want);
            assert!(want.len() <= LIMIT);
        }
    }

    #[test]
    fn the_cluster_role_binding_of_a_long_name_ends_inside_it() {
        let names = ChildNames::new("qwen2-7b-kv-cache-offloading");
        assert_eq!(
            names.picker_cluster_role_binding("g-sample-kv-cach-c02c3e"),
            "g-sample-kv-cach-c02c3e011712e0c9a6924d9889893db3dd1748-qwen2-7"
        );
    }

    #[test]
    fn every_name_fits_a_label() {
        let long = "n".repeat(63);
        for (_, name) in ChildNames::new(&long).all() {
            assert!(name.len() <= LIMIT, "{name}");
        }
    }
}
