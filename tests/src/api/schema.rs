//! The kinds' fields in the form of OpenAPI 3, as the types of `k8s-openapi` describe them.
//!
//! `kubectl explain` looks a kind up by `x-kubernetes-group-version-kind` and follows references to
//! `#/components/schemas` (kubernetes/kubernetes, `staging/src/k8s.io/kubectl/pkg/explain/v2/templates`).

use k8s_openapi::api::{
    apps::v1 as apps, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    networking::v1 as networking,
};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::kinds::KINDS;

/// The schemas of a version's kinds, and of all that these refer to.
pub(super) fn of_version(group: &str, version: &str) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    match group {
        "" => {
            generator.subschema_for::<core::Namespace>();
            generator.subschema_for::<core::Node>();
            generator.subschema_for::<core::Pod>();
            generator.subschema_for::<core::Service>();
            generator.subschema_for::<core::Endpoints>();
            generator.subschema_for::<core::Event>();
        }
        "apps" => {
            generator.subschema_for::<apps::Deployment>();
            generator.subschema_for::<apps::ReplicaSet>();
            generator.subschema_for::<apps::DaemonSet>();
        }
        "networking.k8s.io" => drop(generator.subschema_for::<networking::NetworkPolicy>()),
        "discovery.k8s.io" => drop(generator.subschema_for::<discovery::EndpointSlice>()),
        "events.k8s.io" => drop(generator.subschema_for::<events::Event>()),
        _ => {}
    }
    let mut schemas = definitions(generator);
    let own = KINDS.iter().filter(|kind| (kind.group, kind.version) == (group, version));
    for kind in own {
        let suffix = format!(".{version}.{}", kind.kind);
        let found = schemas.iter_mut().find(|(name, schema)| {
            name.ends_with(&suffix) && !schema["properties"]["kind"].is_null()
        });
        if let Some((_, schema)) = found {
            let name = json!({ "group": group, "version": version, "kind": kind.kind });
            schema["x-kubernetes-group-version-kind"] = json!([name]);
        }
    }
    schemas
}

fn definitions(mut generator: SchemaGenerator) -> Map<String, Value> {
    let mut schemas = generator.take_definitions(true);
    for schema in schemas.values_mut() {
        refer(schema);
    }
    schemas
}

/// Wraps references that have a description: in OpenAPI 3.0 nothing may stand beside `$ref`.
fn refer(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for inner in map.values_mut() {
                refer(inner);
            }
            if map.len() > 1
                && let Some(reference) = map.remove("$ref")
            {
                map.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(refer),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_described_schema_without_dangling_references() {
        for kind in KINDS {
            let schemas = of_version(kind.group, kind.version);
            let wanted =
                json!([{ "group": kind.group, "version": kind.version, "kind": kind.kind }]);
            let found: Vec<_> = schemas
                .values()
                .filter(|it| it["x-kubernetes-group-version-kind"] == wanted)
                .collect();
            assert_eq!(found.len(), 1, "{kind}");
            assert!(found[0]["description"].is_string(), "{kind}");
            let text = json!(schemas).to_string();
            for reference in text.split("\"#/components/schemas/").skip(1) {
                let name = reference.split('"').next().unwrap();
                assert!(schemas.contains_key(name), "{kind}: {name}");
            }
        }
    }
}
