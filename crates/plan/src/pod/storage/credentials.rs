//! What the download container needs to know to get at a store, from the secrets of its account.
//!
//! Values of secrets stay in the secrets: the container refers to their keys. Only endpoints, regions and the like
//! are copied, see [`Secret::READABLE`], and the headers of an HTTPS host, whose variable the download program
//! expects with their text. A token among them can be read by whoever can read the pod.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_api::names::annotation;

use crate::pod::account;
use crate::role::Role;
use crate::settings::Fields;
use crate::{DEFAULT_ACCOUNT, Error, Facts, ServiceIdentity, items, present, strings, text};

/// A Secret, as far as the plan may know it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret {
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// Every key of its data.
    pub keys: BTreeSet<String>,
    /// The values of [`Secret::READABLE`] keys.
    pub texts: BTreeMap<String, String>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// Keys whose values are copied into pods.
    pub const READABLE: [&str; 11] = [
        HTTPS_HOST,
        HTTPS_HEADERS,
        "S3_ENDPOINT",
        "S3_USE_HTTPS",
        "S3_VERIFY_SSL",
        "awsAnonymousCredential",
        "AWS_DEFAULT_REGION",
        "S3_USER_VIRTUAL_BUCKET",
        "S3_USE_ACCELERATE",
        "AWS_CA_BUNDLE",
        "AWS_CA_BUNDLE_CONFIGMAP",
    ];
}

/// The key `credentials` of the global configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSettings {
    /// Annotation by which a service names its one secret.
    pub secret_annotation: String,
    /// Key of an S3 user's id and of the secret to it; the two usual spellings when `None`.
    pub s3_keys: Option<(String, String)>,
    /// Key, and file name, of Google credentials.
    pub google_file: String,
    /// S3 settings of last resort, by environment variable.
    pub s3: BTreeMap<String, String>,
}

impl Default for CredentialSettings {
    fn default() -> Self {
        Self {
            secret_annotation: annotation::STORAGE_SECRET.to_owned(),
            s3_keys: None,
            google_file: "gcloud-application-credentials.json".to_owned(),
            s3: BTreeMap::new(),
        }
    }
}

impl CredentialSettings {
    /// Reads the key; what it leaves out is default.
    ///
    /// # Errors
    /// Says which field is not what it must be.
    pub(crate) fn read(json: &Fields<'_>) -> Result<Self, String> {
        let default = Self::default();
        let mut s3 = BTreeMap::new();
        for setting in &S3 {
            if let Some(value) = json.text(&format!("s3.{}", setting.field))? {
                s3.insert(setting.variable.to_owned(), value);
            }
        }
        let (id, key) = (
            json.text("s3.s3AccessKeyIDName")?,
            json.text("s3.s3SecretAccessKeyName")?,
        );
        Ok(Self {
            secret_annotation: json
                .text("storageSecretNameAnnotation")?
                .unwrap_or(default.secret_annotation),
            s3_keys: id.zip(key),
            google_file: json
                .text("gcs.gcsCredentialFileName")?
                .unwrap_or(default.google_file),
            s3,
        })
    }
}

/// One setting of S3.
struct Setting {
    /// Environment variable, which is also the key in a secret.
    variable: &'static str,
    /// Part of the annotation after `serving.kserve.io/s3-`.
    annotation: &'static str,
    /// Field of the global configuration.
    field: &'static str,
}

const fn setting(variable: &'static str, annotation: &'static str, field: &'static str) -> Setting {
    Setting {
        variable,
        annotation,
        field,
    }
}

const USE_HTTPS: Setting = setting("S3_USE_HTTPS", "usehttps", "s3UseHttps");
const ENDPOINT: Setting = setting("S3_ENDPOINT", "endpoint", "s3Endpoint");

/// In the order in which they are written.
const S3: [Setting; 9] = [
    USE_HTTPS,
    ENDPOINT,
    setting("S3_VERIFY_SSL", "verifyssl", "s3VerifySSL"),
    setting(
        "awsAnonymousCredential",
        "useanoncredential",
        "s3UseAnonymousCredential",
    ),
    setting("AWS_DEFAULT_REGION", "region", "s3Region"),
    setting(
        "S3_USER_VIRTUAL_BUCKET",
        "usevirtualbucket",
        "s3UseVirtualBucket",
    ),
    setting("S3_USE_ACCELERATE", "useaccelerate", "s3UseAccelerate"),
    setting("AWS_CA_BUNDLE", "cabundle", "s3CABundle"),
    setting(
        "AWS_CA_BUNDLE_CONFIGMAP",
        "cabundle-configmap",
        "s3CABundleConfigMap",
    ),
];

const S3_ANNOTATION: &str = "serving.kserve.io/s3-";
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";
const AWS_KEYS: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
const OLD_AWS_KEYS: (&str, &str) = ("awsAccessKeyID", "awsSecretAccessKey");
const HTTPS_HOST: &str = "https-host";
const HTTPS_HEADERS: &str = "headers";
const AZURE_MARKS: [&str; 3] = ["AZ_CLIENT_ID", "AZURE_CLIENT_ID", "AZURE_ACCESS_TOKEN"];
const AZURE_KEY: &str = "AZURE_STORAGE_ACCESS_KEY";
const AZURE_TENANT: &str = "AZURE_TENANT_ID";
/// Variables of Azure, and whether the key may also be spelled `AZ_...`.
const AZURE: [(&str, bool); 9] = [
    ("AZURE_SUBSCRIPTION_ID", true),
    (AZURE_TENANT, true),
    ("AZURE_CLIENT_ID", true),
    ("AZURE_CLIENT_SECRET", true),
    (AZURE_KEY, false),
    ("AZURE_ACCESS_TOKEN", false),
    ("AZURE_ACCESS_EXPIRES_ON_SECONDS", false),
    ("AZURE_ACCOUNT_NAME", false),
    ("AZURE_SERVICE_URL", false),
];
/// Secrets with one of these keys are a variable of that name.
const TOKENS: [&str; 2] = ["HF_TOKEN", "MODELSCOPE_API_TOKEN"];

/// What a download container gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Environment, no name twice.
    pub(super) env: Vec<Value>,
    /// Volumes, each with its mount.
    pub(super) mounts: Vec<(Value, Value)>,
}

/// Names of the secrets that planning asks of [`Facts::secrets`]: the one that the service names, else those of
/// the accounts of its pods. `facts` has the accounts.
#[must_use]
pub fn secrets(service: &ServiceIdentity, spec: &Value, facts: &Facts) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for role in Role::of(spec) {
        let account = account::users(role, spec).map_or("", |(name, _)| name);
        names.extend(wanted(service, account, facts));
    }
    // The picker's pods read the model too, to count tokens.
    if present(spec, "/router/scheduler") {
        let account = text(spec, "/router/scheduler/template/serviceAccountName");
        names.extend(wanted(service, account, facts));
    }
    names
}

/// The account of a pod: the named one if it exists, else the namespace's default. An account that the plan makes
/// has the default's secrets.
pub(super) fn account<'a>(name: &str, facts: &'a Facts) -> Option<&'a Value> {
    let known = facts.accounts.as_ref()?;
    let found = known.get(name).or_else(|| known.get(DEFAULT_ACCOUNT));
    found.map(AsRef::as_ref)
}

fn wanted(service: &ServiceIdentity, account_name: &str, facts: &Facts) -> Vec<String> {
    let annotation = &facts.credentials.secret_annotation;
    if let Some(name) = service
        .annotations
        .get(annotation)
        .filter(|n| !n.is_empty())
    {
        return vec![name.clone()];
    }
    let account = account(account_name, facts);
    account
        .map_or(&[][..], |account| items(account, "/secrets"))
        .iter()
        .map(|secret| text(secret, "/name").to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The credentials of an account, none where nobody looked for accounts.
///
/// # Errors
/// When a secret is named that does not exist.
pub(super) fn of(
    service: &ServiceIdentity,
    account_name: &str,
    facts: &Facts,
) -> Result<Credentials, Error> {
    let mut found = Credentials::default();
    let named = facts.accounts.as_ref();
    let own = named.and_then(|known| {
        known
            .get(account_name)
            .or_else(|| known.get(DEFAULT_ACCOUNT))
    });
    let Some(account) = own else {
        return Ok(found);
    };
    let annotations = strings(account.pointer("/metadata/annotations"));
    let managed = !account_name.is_empty() && account["metadata"]["name"] != account_name;
    if annotations.contains_key(ROLE_ANNOTATION) && !managed {
        found.env = s3(&annotations, &BTreeMap::new(), facts);
    }
    let Some(secrets) = &facts.secrets else {
        return Ok(found);
    };
    for name in wanted(service, account_name, facts) {
        let secret = secrets.get(&name).ok_or_else(|| Error::NoSecret {
            name: name.clone(),
            namespace: service.namespace.clone(),
        })?;
        found.add(&name, secret, facts);
    }
    Ok(found)
}

impl Credentials {
    fn set(&mut self, entry: Value) {
        match self
            .env
            .iter_mut()
            .find(|known| known["name"] == entry["name"])
        {
            Some(known) => *known = entry,
            None => self.env.push(entry),
        }
    }

    fn refer(&mut self, variable: &str, secret: &str, key: &str) {
        let reference = json!({"secretKeyRef": {"name": secret, "key": key}});
        self.set(json!({"name": variable, "valueFrom": reference}));
    }

    /// Mounts the secret unless another one is there.
    fn mount(&mut self, volume: &str, directory: &str, secret: &str) -> bool {
        let taken = self.mounts.iter().any(|(known, _)| known["name"] == volume);
        if !taken {
            self.mounts.push((
                json!({"name": volume, "secret": {"secretName": secret}}),
                json!({"name": volume, "mountPath": directory, "readOnly": true}),
            ));
        }
        !taken
    }

    /// Adds what a secret holds: one kind of store, the first that its keys speak of.
    fn add(&mut self, name: &str, secret: &Secret, facts: &Facts) {
        let settings = &facts.credentials;
        let has = |key: &str| secret.keys.contains(key);
        if let Some((id, key)) = s3_keys(secret, settings) {
            self.refer(AWS_KEYS.0, name, id);
            self.refer(AWS_KEYS.1, name, key);
            for entry in s3(&secret.annotations, &secret.texts, facts) {
                self.set(entry);
            }
        } else if has(&settings.google_file) {
            if self.mount("user-gcp-sa", "/var/secrets/", name) {
                let file = format!("/var/secrets/{}", settings.google_file);
                self.set(json!({"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": file}));
            }
        } else if AZURE_MARKS.into_iter().any(has) {
            for (variable, short) in AZURE {
                let short = variable.replacen("AZURE_", "AZ_", usize::from(short));
                if has(&short) {
                    self.refer(variable, name, &short);
                } else if has(variable) || variable == AZURE_TENANT {
                    self.refer(variable, name, variable);
                }
            }
        } else if has(AZURE_KEY) {
            self.refer(AZURE_KEY, name, AZURE_KEY);
        } else if has(HTTPS_HOST) {
            let texts = &secret.texts;
            if let (Some(host), Some(headers)) = (texts.get(HTTPS_HOST), texts.get(HTTPS_HEADERS)) {
                self.set(json!({"name": format!("{host}-headers"), "value": headers}));
            }
        } else if has("HDFS_NAMENODE") {
            self.mount("hdfs-secrets", "/var/secrets/kserve-hdfscreds", name);
        } else if let Some(token) = TOKENS.into_iter().find(|token| has(token)) {
            self.refer(token, name, token);
        }
    }
}

/// The keys of an S3 user in a secret that has them.
fn s3_keys<'a>(secret: &Secret, settings: &'a CredentialSettings) -> Option<(&'a str, &'a str)> {
    match &settings.s3_keys {
        Some((id, key)) => secret.keys.contains(key).then_some((id, key)),
        None => [AWS_KEYS, OLD_AWS_KEYS]
            .into_iter()
            .find(|(_, key)| secret.keys.contains(*key)),
    }
}

/// The environment of S3: each setting from an annotation, else a secret's value, else the configuration. The
/// first that is there decides, even if it is empty.
fn s3(
    annotations: &BTreeMap<String, String>,
    texts: &BTreeMap<String, String>,
    facts: &Facts,
) -> Vec<Value> {
    let value = |setting: &Setting| {
        annotations
            .get(&format!("{S3_ANNOTATION}{}", setting.annotation))
            .or_else(|| texts.get(setting.variable))
            .or_else(|| facts.credentials.s3.get(setting.variable))
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    };
    let mut env = Vec::new();
    let mut add = |name: &str, value: &str| env.push(json!({"name": name, "value": value}));
    if let Some(endpoint) = value(&ENDPOINT) {
        let (secure, host) = match endpoint.split_once("://") {
            Some(("https", host)) => (Some("1"), host),
            Some(("http", host)) => (Some("0"), host),
            _ => (value(&USE_HTTPS), endpoint),
        };
        if let Some(secure) = secure {
            add(USE_HTTPS.variable, secure);
        }
        add(ENDPOINT.variable, host);
        let scheme = if secure == Some("0") { "http" } else { "https" };
        add("AWS_ENDPOINT_URL", &format!("{scheme}://{host}"));
    }
    for setting in &S3[2..] {
        if let Some(value) = value(setting) {
            add(setting.variable, value);
        }
    }
    env
}
