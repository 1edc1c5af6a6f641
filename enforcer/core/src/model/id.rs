//! Names of namespaced objects.

use std::fmt;

use super::name::Name;

/// Defines a type that names objects of one kind by namespace and name.
macro_rules! object_id {
    ($id:ident, $kind:literal) => {
        #[doc = concat!("The namespace and name of a ", $kind, ".")]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $id {
            /// `metadata.namespace`
            pub namespace: Name,
            /// `metadata.name`
            pub name: Name,
        }

        impl $id {
            #[doc = concat!("The ", $kind, " `name` of `namespace`.")]
            pub fn new(namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
                Self { namespace: namespace.into(), name: name.into() }
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }
    };
}

object_id!(PodId, "pod");
object_id!(PolicyId, "policy");
object_id!(ServiceId, "service");
