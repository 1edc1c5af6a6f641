//! Questions that observers ask about the running state.

use axum::http::Uri;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// What the policies decide, by the state that the agent has.
    Explain,
    /// What the loaded programs do with the packet.
    Trace,
}

/// A question about connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveQuestion {
    /// The sender.
    pub from: String,
    /// The receiver, with a port or without.
    pub to: String,
    /// The namespace of names without one.
    pub namespace: String,
    /// Whether every rule is shown.
    pub all: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The question is wrong: an end does not exist.
    #[error("{0}")]
    Question(String),
    /// There is no answer at present.
    #[error("{0}")]
    Busy(String),
}

impl LiveQuestion {
    /// The path and query of a request.
    #[must_use]
    pub fn path(&self, asked: Asked) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("from", &self.from).append_pair("to", &self.to);
        query.append_pair("namespace", &self.namespace);
        if self.all {
            query.append_pair("all", "true");
        }
        let path = match asked {
            Asked::Explain => "/explain",
            Asked::Trace => "/trace",
        };
        format!("{path}?{}", query.finish())
    }

    /// The question of a request.
    pub(super) fn read(uri: &Uri) -> Result<Self, AskError> {
        let mut question = Self { namespace: "default".to_owned(), ..Self::default() };
        for (key, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let value = value.into_owned();
            match key.as_ref() {
                "from" => question.from = value,
                "to" => question.to = value,
                "namespace" => question.namespace = value,
                "all" => question.all = value == "true",
                _ => return Err(AskError::Question(format!("unknown parameter {key}"))),
            }
        }
        if question.from.is_empty() || question.to.is_empty() {
            return Err(AskError::Question("expected ?from=FROM&to=TO".to_owned()));
        }
        Ok(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_back_from_its_path() {
        let question = LiveQuestion {
            from: "shop/deploy/web".to_owned(),
            to: "[fd00::1]:80/UDP&x=%".to_owned(),
            namespace: "shop".to_owned(),
            all: true,
        };
        let path = question.path(Asked::Trace);
        assert!(path.starts_with("/trace?from=shop%2Fdeploy%2Fweb&to="), "{path}");
        assert_eq!(LiveQuestion::read(&path.parse().unwrap()), Ok(question));
        for wrong in ["/trace", "/trace?from=a", "/trace?from=a&to=b&from_address=c"] {
            assert!(LiveQuestion::read(&wrong.parse().unwrap()).is_err(), "{wrong}");
        }
    }
}
