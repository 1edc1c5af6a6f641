//! Answers as text.

use std::fmt::{self, Write as _};

use super::answer::{Answer, AuditAnswer, EndAnswer, Explanation, Place};

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, it) in self.connections.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{it}")?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        // The kind of a workload follows its name.
        let (to, kind) = match self.to.split_once(" (") {
            Some((to, kind)) => (to, format!(" ({kind}")),
            None => (self.to.as_str(), String::new()),
        };
        write!(f, "{} → {to}", self.from)?;
        match (self.port, &self.protocol) {
            (Some(port), Some(protocol)) if to.contains("::") => {
                write!(f, " port {port}/{protocol}{kind}")?;
            }
            (Some(port), Some(protocol)) => write!(f, ":{port}/{protocol}{kind}")?,
            _ => write!(f, "{kind}, protocols without ports")?,
        }
        if let Some(service) = &self.service {
            write!(f, " by Service {service}")?;
        }
        write!(f, ": {verdict}")?;
        if self.pairs > 1 {
            write!(
                f,
                " ({} pairs, for example {} → {})",
                self.pairs, self.from_address, self.to_address
            )?;
        }
        writeln!(f)?;
        for end in &self.ends {
            write!(f, "{end}")?;
        }
        if self.ends.is_empty() {
            writeln!(f, "  no pod at either end: no policy applies (S1)")?;
        }
        Ok(())
    }
}

impl fmt::Display for EndAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        write!(f, "  {} of {}: {verdict}: ", self.direction, self.pod)?;
        let isolated = self.isolated_by.join(", ");
        match self.reason.as_ref() {
            "itself" => f.write_str("the other end is the pod itself"),
            "own-node" => f.write_str("the other end is the pod's own node"),
            "not-isolated" => write!(f, "no policy isolates the pod for {}", self.direction),
            _ => write!(f, "isolated by {isolated}"),
        }?;
        writeln!(f, " ({})", self.semantics)?;
        for place in &self.allowed_by {
            writeln!(f, "    allowed by {place}")?;
        }
        match &self.nearest {
            Some(place) => writeln!(f, "    nearest: {place}")?,
            None if self.reason == "no-rule" => writeln!(f, "    no rule could allow it")?,
            None => {}
        }
        for place in &self.rules {
            let outcome = place.outcome.as_deref().unwrap_or_default();
            writeln!(f, "    {outcome:<6} {place}")?;
        }
        if let Some(audit) = &self.audit {
            write!(f, "{audit}")?;
        }
        Ok(())
    }
}

impl fmt::Display for AuditAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        let isolated = self.isolated_by.join(", ");
        writeln!(f, "    would be {verdict} if nothing were in audit: isolated by {isolated}")?;
        for place in &self.allowed_by {
            writeln!(f, "      allowed by {place}")?;
        }
        match &self.nearest {
            Some(place) => writeln!(f, "      nearest: {place}"),
            None if !self.allowed => writeln!(f, "      no rule could allow it"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.path)?;
        if let Some(ports) = &self.port_path {
            let list = ports.rsplit('.').next().unwrap_or(ports);
            write!(f, ", {list}")?;
        }
        if let Some(location) = &self.location {
            write!(f, " ({}:{})", location.file.display(), location.line)?;
        }
        if !self.differences.is_empty() {
            let mut text = String::new();
            for (number, it) in self.differences.iter().enumerate() {
                let comma = if number > 0 { "; " } else { "" };
                write!(text, "{comma}{it}")?;
            }
            write!(f, ": {text}")?;
        }
        Ok(())
    }
}
