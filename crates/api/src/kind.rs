//! `kube_core::Resource` for the two kinds in both versions.

/// Declares the object of a kind: `metadata`, `spec` and `status`, and its [`kube_core::Resource`].
///
/// A missing `spec` reads as the empty one: an object that the API server once stored must not stop a watch.
macro_rules! resource {
    ($(#[$doc:meta])* $name:ident, $version:literal, $plural:literal, $spec:ty, $status:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// Name, namespace, labels and the rest of the object's identity.
            #[serde(default)]
            pub metadata: kube_core::ObjectMeta,
            /// What is wanted.
            #[serde(default)]
            pub spec: $spec,
            /// What was observed.
            #[serde(default)]
            pub status: Option<$status>,
        }

        impl $name {
            /// The kind as objects carry it.
            pub const KIND: &'static str = stringify!($name);
            /// `group/version` as objects carry it.
            pub const API_VERSION: &'static str = concat!("serving.kserve.io/", $version);

            /// An object of that name without a namespace.
            #[must_use]
            pub fn new(name: &str, spec: $spec) -> Self {
                let metadata = kube_core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
                Self { metadata, spec, status: None }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let mut object = serializer.serialize_struct(Self::KIND, 4 + usize::from(self.status.is_some()))?;
                object.serialize_field("apiVersion", Self::API_VERSION)?;
                object.serialize_field("kind", Self::KIND)?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                if let Some(status) = &self.status {
                    object.serialize_field("status", status)?;
                }
                object.end()
            }
        }

        impl kube_core::Resource for $name {
            type DynamicType = ();
            type Scope = kube_core::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                Self::KIND.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $crate::names::GROUP.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube_core::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube_core::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(crate) use resource;
