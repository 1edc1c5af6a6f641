//! The page's questions, and their answers as documents (`docs/json.md`).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use enforcer_core::model::{Change, PolicyId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::failure::Failure;
use super::sources::Page;
use crate::inspect::{self, Output, Question, State, Subject};

/// The name that stands for the text of a what-if question.
const TEXT: &str = "what-if";

type Answer = Result<Response, Failure>;

/// Changes to apply before a question is answered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WhatIf {
    /// Manifests, whose objects replace those of the same name.
    manifests: String,
    /// Policies to remove, as `namespace/name`.
    remove: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuestion {
    from: String,
    to: String,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    what_if: WhatIf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NameQuestion {
    name: String,
}

/// The whole cluster; `?fresh`: read again.
pub(super) async fn model(Shared(page): Shared<Arc<Page>>, uri: Uri, headers: HeaderMap) -> Answer {
    let state = page.clusters.state(uri.query() == Some("fresh")).await?;
    let source = page.clusters.name();
    let text = page.compute(move || text("model", &inspect::overview(&state, &source))).await?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    if headers.get(IF_NONE_MATCH).is_some_and(|it| it.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    Ok(([(ETAG, tag), (CONTENT_TYPE, "application/json".to_owned())], text).into_response())
}

/// Why connections are allowed or denied.
pub(super) async fn explain(Shared(page): Shared<Arc<Page>>, body: Bytes) -> Answer {
    let ExplainQuestion { from, to, all, what_if } = read(&body)?;
    let state = page.changed(&what_if).await?;
    let question = Question { from, to, namespace: "default".to_owned(), all };
    page.answer(move || {
        text("explain", &inspect::ask(&state, &question).map_err(|it| Failure::bad(&it))?)
    })
    .await
}

/// A pod, a policy or a namespace in words.
pub(super) async fn describe(Shared(page): Shared<Arc<Page>>, body: Bytes) -> Answer {
    let NameQuestion { name } = read(&body)?;
    let state = page.clusters.state(false).await?;
    page.answer(move || {
        let found = inspect::describe(&state, &Subject::Named(name), "default");
        text("describe", &found.map_err(|it| Failure::bad(&it))?)
    })
    .await
}

/// The connections that a change opens and closes.
pub(super) async fn diff(Shared(page): Shared<Arc<Page>>, body: Bytes) -> Answer {
    let what_if: WhatIf = read(&body)?;
    let old = page.clusters.state(false).await?;
    let new = page.changed(&what_if).await?;
    let pod_cidr = page.clusters.pod_cidr();
    page.answer(move || {
        let diff = inspect::compare((*old).clone(), (*new).clone(), pod_cidr);
        text("diff", &diff)
    })
    .await
}

/// The manifest of a policy.
pub(super) async fn policy(Shared(page): Shared<Arc<Page>>, body: Bytes) -> Answer {
    let NameQuestion { name } = read(&body)?;
    let state = page.clusters.state(false).await?;
    let found = inspect::policy_text(&state, &policy_id(&name)?)?;
    let missing = || Failure::new(StatusCode::NOT_FOUND, format!("there is no policy {name}"));
    json(text("policy", &json!({ "policy": name, "manifest": found.ok_or_else(missing)? }))?)
}

/// What agents saw.
pub(super) async fn activity(Shared(page): Shared<Arc<Page>>) -> Answer {
    json(text("activity", &page.activity.read().await)?)
}

impl Page {
    /// The state with the changes of a what-if question.
    async fn changed(&self, what_if: &WhatIf) -> Result<Arc<State>, Failure> {
        let state = self.clusters.state(false).await?;
        if what_if.manifests.trim().is_empty() && what_if.remove.is_empty() {
            return Ok(state);
        }
        let mut state = (*state).clone();
        for name in &what_if.remove {
            let id = policy_id(name)?;
            if !state.cluster.apply(Change::PolicyGone(id)) {
                return Err(Failure::bad(&format!("there is no policy {name} to remove")));
            }
        }
        if !what_if.manifests.trim().is_empty() {
            let other = State::of_text(Path::new(TEXT), &what_if.manifests);
            state.change(other.map_err(|it| Failure::bad(&it))?);
            state.assume(self.clusters.pod_cidr());
        }
        Ok(Arc::new(state))
    }

    /// Computes in a thread where this takes nobody's time.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        // The semaphore is never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no answer: {error}"))
        })?
    }

    async fn answer(
        &self,
        work: impl FnOnce() -> Result<String, Failure> + Send + 'static,
    ) -> Answer {
        json(self.compute(work).await?)
    }
}

fn policy_id(name: &str) -> Result<PolicyId, Failure> {
    let wrong = || Failure::bad(&format!("{name}: expected NAMESPACE/NAME of a policy"));
    let (namespace, name) = name.split_once('/').ok_or_else(wrong)?;
    Ok(PolicyId::new(namespace, name))
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|it| Failure::bad(&it))
}

fn text(kind: &str, body: &impl Serialize) -> Result<String, Failure> {
    Ok(inspect::document(kind, body, Output::Json)?.unwrap_or_default())
}

fn json(text: String) -> Answer {
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}
