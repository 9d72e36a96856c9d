//! Protobuf bodies of the few kinds that `kubectl create` and `kubectl auth` send so.
//!
//! Answers are always JSON, which every client accepts. A field that the table does not know is
//! refused, never dropped.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::status::{ApiError, ApiResult};

const MAGIC: &[u8] = b"k8s\0";

/// How a field is written.
#[derive(Clone, Copy)]
enum Wire {
    /// Text; empty means absent.
    Text,
    /// Number; 0 means absent.
    Number,
    /// Number of an optional field: present when written.
    Optional,
    /// Truth; false means absent.
    Flag,
    /// Map of texts.
    Texts,
    /// Map of bytes.
    Blobs,
    /// A message of the named type.
    Message(&'static str),
    /// `IntOrString`.
    Either,
    /// A time.
    Time,
    /// Known and of no use in a request.
    Skip,
}

use Wire::{Blobs, Either, Flag, Message, Number, Optional, Skip, Text, Texts, Time};

/// Number, name, wire type, repeated.
type Field = (u64, &'static str, Wire, bool);

const META: Field = (1, "metadata", Message("ObjectMeta"), false);
const STATUS: Field = (3, "status", Skip, false);

fn fields(message: &str) -> Option<&'static [Field]> {
    Some(match message {
        "ObjectMeta" => &[
            (1, "name", Text, false),
            (2, "generateName", Text, false),
            (3, "namespace", Text, false),
            (4, "selfLink", Skip, false),
            (5, "uid", Text, false),
            (6, "resourceVersion", Text, false),
            (7, "generation", Number, false),
            (8, "creationTimestamp", Time, false),
            (9, "deletionTimestamp", Time, false),
            (10, "deletionGracePeriodSeconds", Optional, false),
            (11, "labels", Texts, false),
            (12, "annotations", Texts, false),
            (13, "ownerReferences", Message("OwnerReference"), true),
            (14, "finalizers", Text, true),
            (17, "managedFields", Skip, true),
        ],
        "OwnerReference" => &[
            (1, "kind", Text, false),
            (3, "name", Text, false),
            (4, "uid", Text, false),
            (5, "apiVersion", Text, false),
            (6, "controller", Flag, false),
            (7, "blockOwnerDeletion", Flag, false),
        ],
        "Namespace" => &[META, (2, "spec", Message("NamespaceSpec"), false), STATUS],
        "NamespaceSpec" => &[(1, "finalizers", Text, true)],
        "ConfigMap" => &[
            META,
            (2, "data", Texts, false),
            (3, "binaryData", Blobs, false),
            (4, "immutable", Flag, false),
        ],
        "Secret" => &[
            META,
            (2, "data", Blobs, false),
            (3, "type", Text, false),
            (4, "stringData", Texts, false),
            (5, "immutable", Flag, false),
        ],
        "ServiceAccount" => &[META],
        "Service" => &[META, (2, "spec", Message("ServiceSpec"), false), STATUS],
        "ServiceSpec" => &[
            (1, "ports", Message("ServicePort"), true),
            (2, "selector", Texts, false),
            (3, "clusterIP", Text, false),
            (4, "type", Text, false),
            (5, "externalIPs", Text, true),
            (7, "sessionAffinity", Text, false),
            (8, "loadBalancerIP", Text, false),
            (10, "externalName", Text, false),
            (11, "externalTrafficPolicy", Text, false),
            (12, "healthCheckNodePort", Number, false),
            (13, "publishNotReadyAddresses", Flag, false),
            (18, "clusterIPs", Text, true),
        ],
        "ServicePort" => &[
            (1, "name", Text, false),
            (2, "protocol", Text, false),
            (3, "port", Number, false),
            (4, "targetPort", Either, false),
            (5, "nodePort", Number, false),
            (6, "appProtocol", Text, false),
        ],
        "Deployment" => &[META, (2, "spec", Message("DeploymentSpec"), false), STATUS],
        "DeploymentSpec" => &[
            (1, "replicas", Optional, false),
            (2, "selector", Message("LabelSelector"), false),
            (3, "template", Message("PodTemplateSpec"), false),
            (4, "strategy", Message("DeploymentStrategy"), false),
            (5, "minReadySeconds", Number, false),
            (6, "revisionHistoryLimit", Optional, false),
            (7, "paused", Flag, false),
            (9, "progressDeadlineSeconds", Optional, false),
        ],
        "DeploymentStrategy" => &[(1, "type", Text, false)],
        "LabelSelector" => &[(1, "matchLabels", Texts, false)],
        "PodTemplateSpec" => &[META, (2, "spec", Message("PodSpec"), false)],
        "PodSpec" => &[
            (2, "containers", Message("Container"), true),
            (3, "restartPolicy", Text, false),
            (4, "terminationGracePeriodSeconds", Optional, false),
            (6, "dnsPolicy", Text, false),
            (8, "serviceAccountName", Text, false),
            (9, "serviceAccount", Text, false),
            (10, "nodeName", Text, false),
            (11, "hostNetwork", Flag, false),
            (12, "hostPID", Flag, false),
            (13, "hostIPC", Flag, false),
            (14, "securityContext", Skip, false),
            (16, "hostname", Text, false),
            (17, "subdomain", Text, false),
            (19, "schedulerName", Text, false),
            (24, "priorityClassName", Text, false),
        ],
        "Container" => &[
            (1, "name", Text, false),
            (2, "image", Text, false),
            (3, "command", Text, true),
            (4, "args", Text, true),
            (5, "workingDir", Text, false),
            (6, "ports", Message("ContainerPort"), true),
            (8, "resources", Skip, false),
            (13, "terminationMessagePath", Text, false),
            (14, "imagePullPolicy", Text, false),
            (16, "stdin", Flag, false),
            (17, "stdinOnce", Flag, false),
            (18, "tty", Flag, false),
            (20, "terminationMessagePolicy", Text, false),
        ],
        "ContainerPort" => &[
            (1, "name", Text, false),
            (2, "hostPort", Number, false),
            (3, "containerPort", Number, false),
            (4, "protocol", Text, false),
            (5, "hostIP", Text, false),
        ],
        "SelfSubjectAccessReview" => &[
            META,
            (2, "spec", Message("SelfSubjectAccessReviewSpec"), false),
            STATUS,
        ],
        "SelfSubjectAccessReviewSpec" => &[
            (
                1,
                "resourceAttributes",
                Message("ResourceAttributes"),
                false,
            ),
            (
                2,
                "nonResourceAttributes",
                Message("NonResourceAttributes"),
                false,
            ),
        ],
        "ResourceAttributes" => &[
            (1, "namespace", Text, false),
            (2, "verb", Text, false),
            (3, "group", Text, false),
            (4, "version", Text, false),
            (5, "resource", Text, false),
            (6, "subresource", Text, false),
            (7, "name", Text, false),
        ],
        "NonResourceAttributes" => &[(1, "path", Text, false), (2, "verb", Text, false)],
        "SelfSubjectReview" => &[META, (2, "status", Skip, false)],
        "SelfSubjectRulesReview" => &[
            META,
            (2, "spec", Message("SelfSubjectRulesReviewSpec"), false),
            STATUS,
        ],
        "SelfSubjectRulesReviewSpec" => &[(1, "namespace", Text, false)],
        "DeleteOptions" => &[
            (1, "gracePeriodSeconds", Optional, false),
            (2, "preconditions", Message("Preconditions"), false),
            (3, "orphanDependents", Flag, false),
            (4, "propagationPolicy", Text, false),
            (5, "dryRun", Text, true),
        ],
        "Preconditions" => &[(1, "uid", Text, false), (2, "resourceVersion", Text, false)],
        _ => return None,
    })
}

/// Decodes a body.
pub(crate) fn decode(bytes: &[u8]) -> ApiResult<Value> {
    let body = bytes.strip_prefix(MAGIC).ok_or_else(malformed)?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for entry in Entries(body) {
        match entry? {
            (1, Wired::Bytes(types)) => {
                for entry in Entries(types) {
                    match entry? {
                        (1, Wired::Bytes(text)) => version = string(text)?,
                        (2, Wired::Bytes(text)) => kind = string(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wired::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let known = fields(&kind).ok_or_else(|| unsupported(&kind, "the kind"))?;
    let mut object = message(&kind, known, raw)?;
    object.insert("apiVersion".to_owned(), json!(version));
    object.insert("kind".to_owned(), json!(kind));
    Ok(Value::Object(object))
}

fn malformed() -> ApiError {
    ApiError::bad_request("the body is not well-formed protobuf")
}

fn unsupported(kind: &str, what: &str) -> ApiError {
    let message =
        format!("{what} is not read from protobuf here ({kind}); send application/json instead");
    ApiError::new(415, "UnsupportedMediaType", message)
}

fn string(bytes: &[u8]) -> ApiResult<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| malformed())
}

enum Wired<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7F) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn entry(&mut self) -> Option<(u64, Wired<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Wired::Varint(self.varint()?),
            1 => self.take(8).map(|_| Wired::Other)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wired::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Wired::Other)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = ApiResult<(u64, Wired<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_none() {
            self.0 = &[];
        }
        Some(entry.ok_or_else(malformed))
    }
}

fn message(kind: &str, known: &[Field], bytes: &[u8]) -> ApiResult<Map<String, Value>> {
    let mut object = Map::new();
    for entry in Entries(bytes) {
        let (number, value) = entry?;
        let Some((_, name, wire, repeated)) = known.iter().find(|(n, ..)| *n == number) else {
            let what = format!("field {number} of {kind}");
            return Err(unsupported(kind, &what));
        };
        match (wire, value) {
            (Skip, _) => {}
            (Texts | Blobs, Wired::Bytes(bytes)) => {
                let (key, value) = pair(bytes, matches!(wire, Blobs))?;
                let map = object.entry(*name).or_insert_with(|| json!({}));
                map[key] = json!(value);
            }
            (_, value) => {
                let Some(value) = one(*wire, value)? else {
                    continue;
                };
                if *repeated {
                    let list = object.entry(*name).or_insert_with(|| json!([]));
                    if let Value::Array(list) = list {
                        list.push(value);
                    }
                } else {
                    object.insert((*name).to_owned(), value);
                }
            }
        }
    }
    Ok(object)
}

fn one(wire: Wire, value: Wired<'_>) -> ApiResult<Option<Value>> {
    Ok(match (wire, value) {
        (Text, Wired::Bytes(bytes)) => {
            let text = string(bytes)?;
            (!text.is_empty()).then(|| json!(text))
        }
        (Number, Wired::Varint(0)) | (Flag, Wired::Varint(0)) => None,
        (Number | Optional, Wired::Varint(number)) => Some(json!(number.cast_signed())),
        (Flag, Wired::Varint(_)) => Some(json!(true)),
        (Message(kind), Wired::Bytes(bytes)) => {
            let known = fields(kind).ok_or_else(malformed)?;
            Some(Value::Object(message(kind, known, bytes)?))
        }
        (Either, Wired::Bytes(bytes)) => {
            let (mut text, mut number, mut value) = (false, 0, String::new());
            for entry in Entries(bytes) {
                match entry? {
                    (1, Wired::Varint(kind)) => text = kind == 1,
                    (2, Wired::Varint(n)) => number = n,
                    (3, Wired::Bytes(bytes)) => value = string(bytes)?,
                    _ => {}
                }
            }
            Some(if text { json!(value) } else { json!(number) })
        }
        (Time, Wired::Bytes(bytes)) => {
            let mut seconds = None;
            for entry in Entries(bytes) {
                if let (1, Wired::Varint(n)) = entry? {
                    seconds = jiff::Timestamp::from_second(n.cast_signed()).ok();
                }
            }
            seconds.map(|time| json!(time.to_string()))
        }
        _ => return Err(malformed()),
    })
}

fn pair(bytes: &[u8], blob: bool) -> ApiResult<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    for entry in Entries(bytes) {
        match entry? {
            (1, Wired::Bytes(bytes)) => key = string(bytes)?,
            (2, Wired::Bytes(bytes)) if blob => {
                value = base64::engine::general_purpose::STANDARD.encode(bytes);
            }
            (2, Wired::Bytes(bytes)) => value = string(bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_read_and_an_unknown_field_is_refused() {
        let mut body = MAGIC.to_vec();
        body.extend(b"\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x05\x0a\x03\x0a\x01a");
        let object = decode(&body).unwrap();
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})
        );
        let mut odd = MAGIC.to_vec();
        odd.extend(b"\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x03\x7a\x01a");
        assert_eq!(decode(&odd).unwrap_err().code, 415);
        assert_eq!(decode(&body[..20]).unwrap_err().code, 400);
    }
}
