//! The key `storageInitializer` of the global configuration: how models get into pods.

use weir_api::names::image;

use super::Fields;
use crate::quantity::Quantity;

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
    /// Reads the key; what it leaves out is default.
    ///
    /// # Errors
    /// Says which field is not what it must be. A quantity that is none would have every pod refused.
    pub(crate) fn read(json: &Fields<'_>) -> Result<Self, String> {
        let quantity = |key: &str, default: String| -> Result<String, String> {
            match json.text(key)? {
                None => Ok(default),
                Some(given) if Quantity::parse(&given).is_some() => Ok(given),
                Some(given) => Err(format!(
                    "{key} {given:?} is no quantity such as 100m or 1Gi"
                )),
            }
        };
        let default = Self::default();
        Ok(Self {
            image: json.text("image")?.unwrap_or(default.image),
            cpu_request: quantity("cpuRequest", default.cpu_request)?,
            cpu_limit: quantity("cpuLimit", default.cpu_limit)?,
            memory_request: quantity("memoryRequest", default.memory_request)?,
            memory_limit: quantity("memoryLimit", default.memory_limit)?,
            ca_config_map: json.text("caBundleConfigMapName")?,
            ca_directory: json.text("caBundleVolumeMountPath")?,
            oci: oci(json)?,
            modelcar_cpu: quantity("cpuModelcar", default.modelcar_cpu)?,
            modelcar_memory: quantity("memoryModelcar", default.modelcar_memory)?,
            modelcar_uid: if json.has("uidModelcar") {
                json.number("uidModelcar")?
            } else {
                default.modelcar_uid
            },
        })
    }
}

/// A mode that is named decides; else the older switch does.
fn oci(json: &Fields<'_>) -> Result<OciMode, String> {
    let old = json.switch("enableModelcar")?;
    let Some(mode) = json.text("ociModelMode")? else {
        return Ok(match old {
            Some(false) => OciMode::Disabled,
            _ => OciMode::default(),
        });
    };
    match mode.to_ascii_lowercase().as_str() {
        "native" => Ok(OciMode::Native),
        "fetch" => Ok(OciMode::Fetch),
        "modelcar" => Ok(OciMode::Modelcar),
        _ => Err(format!(
            "ociModelMode {mode:?} is none of modelcar, native and fetch"
        )),
    }
}
