//! The key `storageInitializer` of the global configuration: how models get into pods.

use serde_json::Value;
use weir_api::names::image;

use crate::quantity::Quantity;
use crate::text;

/// Keys whose values are quantities.
const QUANTITIES: [&str; 6] = [
    "cpuRequest",
    "cpuLimit",
    "memoryRequest",
    "memoryLimit",
    "cpuModelcar",
    "memoryModelcar",
];

/// How models get into pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageInitializer {
    /// Image of the download container.
    pub image: String,
    /// Its CPU request.
    pub cpu_request: String,
    /// Its CPU limit.
    pub cpu_limit: String,
    /// Its memory request.
    pub memory_request: String,
    /// Its memory limit.
    pub memory_limit: String,
    /// ConfigMap of the system namespace with certificate authorities that downloads trust.
    pub ca_config_map: Option<String>,
    /// Where the authorities are mounted, if not at the usual place.
    pub ca_directory: Option<String>,
    /// What is done with models in container images.
    pub oci: OciMode,
    /// CPU of a modelcar.
    pub modelcar_cpu: String,
    /// Memory of a modelcar.
    pub modelcar_memory: String,
    /// User that a modelcar and its engine run as.
    pub modelcar_uid: Option<i64>,
}

/// What is done with `oci://` models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OciMode {
    /// They are refused.
    Disabled,
    /// A container of the image runs beside the engine.
    #[default]
    Modelcar,
    /// The image is mounted as a volume.
    Native,
    /// The download container unpacks the image.
    Fetch,
}

impl Default for StorageInitializer {
    fn default() -> Self {
        Self {
            image: image::STORAGE_INITIALIZER.to_owned(),
            cpu_request: "100m".to_owned(),
            cpu_limit: "1".to_owned(),
            memory_request: "100Mi".to_owned(),
            memory_limit: "1Gi".to_owned(),
            ca_config_map: None,
            ca_directory: None,
            oci: OciMode::default(),
            modelcar_cpu: "10m".to_owned(),
            modelcar_memory: "15Mi".to_owned(),
            modelcar_uid: Some(1010),
        }
    }
}

impl StorageInitializer {
    /// Reads the configuration's JSON; what it leaves out is default.
    ///
    /// # Errors
    /// Says which value is no quantity: every pod would be refused for it.
    pub(crate) fn read(json: &Value) -> Result<Self, String> {
        for key in QUANTITIES {
            let given = text(json, &format!("/{key}"));
            if !given.is_empty() && Quantity::parse(given).is_none() {
                return Err(format!(
                    "{key} {given:?} is no quantity such as 100m or 1Gi"
                ));
            }
        }
        let given = |key: &str| Some(text(json, key).to_owned()).filter(|text| !text.is_empty());
        let default = Self::default();
        Ok(Self {
            image: given("/image").unwrap_or(default.image),
            cpu_request: given("/cpuRequest").unwrap_or(default.cpu_request),
            cpu_limit: given("/cpuLimit").unwrap_or(default.cpu_limit),
            memory_request: given("/memoryRequest").unwrap_or(default.memory_request),
            memory_limit: given("/memoryLimit").unwrap_or(default.memory_limit),
            ca_config_map: given("/caBundleConfigMapName"),
            ca_directory: given("/caBundleVolumeMountPath"),
            oci: oci(json),
            modelcar_cpu: given("/cpuModelcar").unwrap_or(default.modelcar_cpu),
            modelcar_memory: given("/memoryModelcar").unwrap_or(default.modelcar_memory),
            modelcar_uid: match json.get("uidModelcar") {
                Some(uid) => uid.as_i64(),
                None => default.modelcar_uid,
            },
        })
    }
}

/// A mode that is named decides; else the older switch does.
fn oci(json: &Value) -> OciMode {
    match text(json, "/ociModelMode").to_ascii_lowercase().as_str() {
        "native" => OciMode::Native,
        "fetch" => OciMode::Fetch,
        "modelcar" => OciMode::Modelcar,
        _ if json.get("enableModelcar") == Some(&Value::Bool(false)) => OciMode::Disabled,
        _ => OciMode::default(),
    }
}
