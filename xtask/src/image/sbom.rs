//! The software bill of materials, as CycloneDX 1.5 in JSON.
//! Source: <https://cyclonedx.org/docs/1.5/json/>

use anyhow::{Context, Result, bail};
use cyclonedx_bom::models::bom::SpecVersion;
use cyclonedx_bom::models::component::Classification;
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::external_reference::{
    ExternalReference, ExternalReferenceType, ExternalReferences,
};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::prelude::{
    Bom, Component, Components, DateTime, Metadata, NormalizedString, Purl, SpdxExpression, Uri,
    Validate as _,
};

use super::origin::Origin;
use super::parts::{Part, Parts};

const VERSION: SpecVersion = SpecVersion::V1_5;

/// Lists the parts with their licences and dependencies.
///
/// # Errors
/// The format doesn't allow a part's name or licence.
pub(super) fn write(parts: &Parts, origin: &Origin) -> Result<Vec<u8>> {
    let bom = bom(parts, origin)?;
    let result = bom.validate_version(VERSION);
    if !result.passed() {
        bail!("the bill of materials isn't valid CycloneDX: {result:?}");
    }
    let mut text = Vec::new();
    bom.output_as_json(&mut text, VERSION).context("can't write the bill of materials")?;
    text.push(b'\n');
    Ok(text)
}

fn bom(parts: &Parts, origin: &Origin) -> Result<Bom> {
    let components = parts.others.iter().map(|part| component(part, Classification::Library));
    let all = std::iter::once(&parts.agent).chain(&parts.others);
    let dependencies = all.map(|part| {
        let needs = part
            .needs
            .iter()
            .filter_map(|id| parts.others.iter().find(|other| other.id == *id).map(reference));
        Ok(Dependency {
            dependency_ref: reference(part)?,
            dependencies: needs.collect::<Result<_>>()?,
        })
    });
    let metadata = Metadata {
        timestamp: Some(DateTime::try_from(origin.created.to_string())?),
        component: Some(component(&parts.agent, Classification::Application)?),
        ..Metadata::default()
    };
    Ok(Bom {
        metadata: Some(metadata),
        components: Some(Components(components.collect::<Result<_>>()?)),
        dependencies: Some(Dependencies(dependencies.collect::<Result<_>>()?)),
        // Two builds of the same sources give the same bytes.
        serial_number: None,
        ..Bom::default()
    })
}

fn component(part: &Part, kind: Classification) -> Result<Component> {
    let (name, version) = &part.id;
    let mut component = Component::new(kind, name, version, Some(reference(part)?));
    component.purl = Some(purl(part)?);
    component.description = part.description.as_deref().map(NormalizedString::new);
    component.licenses = part.licence.as_deref().map(|text| Licenses(vec![licence(text)]));
    component.external_references = part.home.as_deref().map(|home| {
        let home = ExternalReference::new(ExternalReferenceType::Vcs, Uri::new(home));
        ExternalReferences(vec![home])
    });
    Ok(component)
}

/// Old crates write `MIT/Apache-2.0`. Other text that isn't an expression becomes a name.
fn licence(text: &str) -> LicenseChoice {
    match SpdxExpression::parse_lax(text.to_owned()) {
        Ok(expression) => LicenseChoice::Expression(expression),
        Err(_) => LicenseChoice::license(text),
    }
}

fn purl(part: &Part) -> Result<Purl> {
    let (name, version) = &part.id;
    let kind = if part.is_crate { "cargo" } else { "generic" };
    Purl::new(kind, name, version).with_context(|| format!("{name} {version} has no package URL"))
}

fn reference(part: &Part) -> Result<String> {
    Ok(purl(part)?.to_string())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::image::tests::part;

    fn written() -> Vec<u8> {
        let parts = Parts {
            agent: part("enforcer", "Apache-2.0", &["old"]),
            others: vec![
                part("odd", "Our Own Terms", &[]),
                part("old", "MIT/Apache-2.0", &["odd"]),
            ],
        };
        let origin = Origin { revision: None, created: Timestamp::UNIX_EPOCH };
        write(&parts, &origin).unwrap()
    }

    #[test]
    fn another_reader_finds_it_valid_and_complete() {
        let bom = Bom::parse_from_json(written().as_slice()).unwrap();
        assert!(bom.validate_version(VERSION).passed());
        let components = bom.components.unwrap().0;
        let names: Vec<_> = components.iter().map(|it| it.name.to_string()).collect();
        assert_eq!(names, ["odd", "old"]);
        let purl = components[1].purl.as_ref().map(ToString::to_string);
        assert_eq!(purl.as_deref(), Some("pkg:cargo/old@1.0.0"));
        let needs: Vec<_> =
            bom.dependencies.unwrap().0.into_iter().map(|it| it.dependencies).collect();
        assert_eq!(needs, [vec!["pkg:cargo/old@1.0.0"], vec![], vec!["pkg:cargo/odd@1.0.0"]]);
    }

    #[test]
    fn licences_are_expressions_where_they_can_be() {
        let text = String::from_utf8(written()).unwrap();
        assert!(text.contains(r#""expression": "MIT OR Apache-2.0""#), "{text}");
        assert!(text.contains(r#""name": "Our Own Terms""#), "{text}");
        assert_eq!(written(), written());
    }
}
