//! Kubernetes' protobuf, as far as `kubectl create namespace` and `create deployment` need it.
//!
//! kubectl sends protobuf in commands that build typed objects. Field numbers as in kubernetes/kubernetes
//! `staging/src/k8s.io/api/{core,apps}/v1/generated.proto`.

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

/// A namespace or a deployment. A namespace's `spec` is read as an empty one of a deployment.
#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    spec: Option<DeploymentSpec>,
}

/// `k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta`, in part
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "12")]
    annotations: HashMap<String, String>,
}

impl Metadata {
    fn object(&self) -> Value {
        let mut object = json!({ "labels": self.labels, "annotations": self.annotations });
        let texts = [
            ("name", &self.name),
            ("generateName", &self.generate_name),
            ("namespace", &self.namespace),
        ];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            object[field] = text.as_str().into();
        }
        object
    }
}

/// `k8s.io.api.apps.v1.DeploymentSpec`, as far as `kubectl create deployment` sets it
#[derive(Clone, PartialEq, Message)]
struct DeploymentSpec {
    #[prost(int32, optional, tag = "1")]
    replicas: Option<i32>,
    #[prost(message, optional, tag = "2")]
    selector: Option<Selector>,
    #[prost(message, optional, tag = "3")]
    template: Option<Template>,
}

/// `k8s.io.apimachinery.pkg.apis.meta.v1.LabelSelector`, in part
#[derive(Clone, PartialEq, Message)]
struct Selector {
    #[prost(map = "string, string", tag = "1")]
    match_labels: HashMap<String, String>,
}

/// `k8s.io.api.core.v1.PodTemplateSpec`
#[derive(Clone, PartialEq, Message)]
struct Template {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    spec: Option<PodSpec>,
}

/// `k8s.io.api.core.v1.PodSpec`, in part
#[derive(Clone, PartialEq, Message)]
struct PodSpec {
    #[prost(message, repeated, tag = "2")]
    containers: Vec<Container>,
}

/// `k8s.io.api.core.v1.Container`, in part
#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    image: String,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    args: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    ports: Vec<Port>,
}

/// `k8s.io.api.core.v1.ContainerPort`, in part
#[derive(Clone, PartialEq, Message)]
struct Port {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    container_port: i32,
    #[prost(string, tag = "4")]
    protocol: String,
}

impl DeploymentSpec {
    fn object(&self) -> Value {
        let labels = self.selector.as_ref().map(|it| &it.match_labels);
        let template = self.template.clone().unwrap_or_default();
        let containers = template.spec.unwrap_or_default().containers;
        let containers: Vec<Value> = containers.iter().map(Container::object).collect();
        let metadata = template.metadata.unwrap_or_default().object();
        json!({
            "replicas": self.replicas, "selector": { "matchLabels": labels },
            "template": { "metadata": metadata, "spec": { "containers": containers } },
        })
    }
}

impl Container {
    fn object(&self) -> Value {
        let Self { name, image, command, args, ports } = self;
        let ports = ports.iter().map(|port| {
            let mut object = json!({ "containerPort": port.container_port });
            let texts = [("name", &port.name), ("protocol", &port.protocol)];
            for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
                object[field] = text.as_str().into();
            }
            object
        });
        let ports: Vec<Value> = ports.collect();
        json!({ "name": name, "image": image, "command": command, "args": args, "ports": ports })
    }
}

/// Parses a namespace or a deployment; `None`: the body is another object, or not protobuf.
pub(crate) fn object(body: &[u8]) -> Option<Value> {
    let envelope = Envelope::decode(body.strip_prefix(MAGIC)?).ok()?;
    let About { api_version, kind } = envelope.about?;
    let is_deployment = match (api_version.as_str(), kind.as_str()) {
        ("v1", "Namespace") => false,
        ("apps/v1", "Deployment") => true,
        _ => return None,
    };
    let Object { metadata, spec } = Object::decode(envelope.raw.as_slice()).ok()?;
    let mut object =
        json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata?.object() });
    if is_deployment {
        object["spec"] = spec?.object();
    }
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectls_namespace_is_read() {
        // kubectl 1.33: create namespace x
        let body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x07\x0a\x03\x0a\x01x\x12\x00\x1a\x00\x22\x00";
        assert_eq!(object(body).unwrap()["metadata"]["name"], "x");
        assert_eq!(object(b"k8s\0\xff"), None);
        assert_eq!(object(b"{}"), None);
    }
}
