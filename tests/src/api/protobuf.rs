//! Kubernetes' protobuf envelope, as far as `kubectl create namespace` needs it.
//!
//! Newer versions of kubectl send protobuf in commands that build typed objects. Only namespaces,
//! which have nothing but metadata, are supported.

use std::collections::HashMap;

use prost::Message;
use serde_json::{Value, json};

/// The first bytes of a body in this encoding.
const MAGIC: &[u8] = b"k8s\0";

pub(crate) const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// `k8s.io.apimachinery.pkg.runtime.Unknown`
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    about: Option<About>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

/// `k8s.io.apimachinery.pkg.runtime.TypeMeta`
#[derive(Clone, PartialEq, Message)]
struct About {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

/// Every object's first field.
#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

/// `k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta`, in part
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "12")]
    annotations: HashMap<String, String>,
}

/// Parses a namespace; `None`: the body is another object, or not protobuf.
pub(crate) fn namespace(body: &[u8]) -> Option<Value> {
    let envelope = Envelope::decode(body.strip_prefix(MAGIC)?).ok()?;
    let about = envelope.about?;
    if (about.api_version.as_str(), about.kind.as_str()) != ("v1", "Namespace") {
        return None;
    }
    let Metadata { name, generate_name, labels, annotations } =
        Object::decode(envelope.raw.as_slice()).ok()?.metadata?;
    Some(json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": name, "generateName": generate_name,
            "labels": labels, "annotations": annotations,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectls_namespace_is_read() {
        // kubectl 1.33: create namespace x
        let body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x07\x0a\x03\x0a\x01x\x12\x00\x1a\x00\x22\x00";
        assert_eq!(namespace(body).unwrap()["metadata"]["name"], "x");
        assert_eq!(namespace(b"k8s\0\xff"), None);
        assert_eq!(namespace(b"{}"), None);
    }
}
