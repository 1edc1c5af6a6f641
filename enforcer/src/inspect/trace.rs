//! What the kernel does with packets, beside the explanations of the policies: documents of agents, their
//! sum, and their text.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::answer::{EndAnswer, Explanation, Word};

/// What one or several agents' programs do with packets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trace {
    /// The agents' nodes, separated by commas.
    pub node: String,
    /// The connections that were tried.
    pub connections: Vec<TracedConnection>,
    /// What was assumed, or left out.
    pub notes: Vec<String>,
    /// The agents that did not answer, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedConnection {
    /// The ends, and the decisions of the policies.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// What the programs do: `allowed`, `denied`, or `unknown` if no agent answered for an end.
    pub kernel: Word,
    /// The programs on the packet's way.
    pub steps: Vec<TraceStep>,
    /// The decisions of the programs, as far as agents answered for the ends.
    pub kernel_ends: Vec<KernelEnd>,
    /// How the programs and the policies differ.
    pub differences: Vec<String>,
}

/// A program on a packet's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// The node.
    pub node: String,
    /// The program: `from_pod`, `to_pod`, `from_wire` or `to_wire`.
    pub program: Word,
    /// The interface.
    pub interface: String,
    /// The pod behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The packet there.
    pub packet: String,
    /// Whether it passes.
    pub passes: bool,
    /// Why, as in `drops`; absent: nothing was counted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// Whether the packet gets there: an earlier program may have dropped it.
    pub reached: bool,
}

/// The decision of the programs at one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelEnd {
    /// The pod.
    pub pod: String,
    /// `egress` for the sender, `ingress` for the receiver.
    pub direction: Word,
    /// Whether it passes.
    pub allowed: bool,
    /// Why, as in `drops`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
}

impl TracedConnection {
    /// A connection, with its differences and the verdict.
    #[must_use]
    pub fn new(
        explanation: Explanation,
        steps: Vec<TraceStep>,
        kernel_ends: Vec<KernelEnd>,
    ) -> Self {
        let none = Vec::new();
        let mut it =
            Self { explanation, kernel: "unknown".into(), steps, kernel_ends, differences: none };
        it.judge();
        it
    }

    fn judge(&mut self) {
        let (ends, kernel) = (&self.explanation.ends, &self.kernel_ends);
        let of = |end: &EndAnswer| kernel.iter().find(|it| it.is(end));
        self.kernel = match () {
            () if kernel.iter().any(|it| !it.allowed) => "denied",
            () if ends.iter().all(|it| of(it).is_some()) => "allowed",
            () => "unknown",
        }
        .into();
        let differs = |end| of(end).and_then(|kernel| kernel.difference(end));
        self.differences = ends.iter().filter_map(differs).collect();
    }

    fn is_same(&self, other: &Self) -> bool {
        let ends = |it: &Explanation| {
            let to = (it.to_address.clone(), it.protocol.clone(), it.port, it.service.clone());
            (it.from_address.clone(), to)
        };
        ends(&self.explanation) == ends(&other.explanation)
    }
}

impl KernelEnd {
    fn is(&self, end: &EndAnswer) -> bool {
        self.pod == end.pod && self.direction == end.direction
    }

    /// How it differs from the policies' decision.
    fn difference(&self, end: &EndAnswer) -> Option<String> {
        let word = |it| if it { "allow" } else { "deny" };
        let reason = self.reason.as_deref().unwrap_or("nothing was counted");
        // The ways to allow by policy; the rest is decided before it.
        let isolates = match (reason, end.reason.as_ref()) {
            ("policy", "not-isolated") => Some("isolate the pod, and the policies do not"),
            ("not-isolated", "allowed-by-rule") => Some("do not isolate the pod"),
            _ => None,
        };
        let what = match isolates {
            _ if self.allowed != end.allowed => {
                format!(
                    "{} it ({reason}), the policies {} it",
                    word(self.allowed),
                    word(end.allowed)
                )
            }
            Some(what) => what.to_owned(),
            None => return None,
        };
        Some(format!("{} of {}: the programs {what}", self.direction, self.pod))
    }
}

impl Trace {
    /// Adds what another agent found on the same question.
    pub fn add(&mut self, other: Self) {
        if !self.node.is_empty() && !other.node.is_empty() {
            self.node.push_str(", ");
        }
        self.node.push_str(&other.node);
        for mut it in other.connections {
            let Some(known) = self.connections.iter_mut().find(|known| known.is_same(&it)) else {
                self.connections.push(it);
                continue;
            };
            // The way begins at the sender's node.
            let is_senders = it.kernel_ends.iter().any(|it| it.direction == "egress");
            if is_senders {
                std::mem::swap(known, &mut it);
            }
            known.steps.append(&mut it.steps);
            for end in it.kernel_ends {
                if !known.kernel_ends.contains(&end) {
                    known.kernel_ends.push(end);
                }
            }
            known.judge();
        }
        self.notes.extend(other.notes);
        self.notes.sort();
        self.notes.dedup();
        self.silent.extend(other.silent);
    }

    /// 0: the programs allow every connection; 1: none; 3: some; 4: they differ from the policies, or nobody
    /// knows.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let is_doubtful =
            |it: &TracedConnection| !it.differences.is_empty() || it.kernel == "unknown";
        let allowed = self.connections.iter().filter(|it| it.kernel == "allowed").count();
        match allowed {
            _ if self.connections.is_empty() || self.connections.iter().any(is_doubtful) => 4,
            0 => 1,
            all if all == self.connections.len() => 0,
            _ => 3,
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, it) in self.connections.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{it}")?;
        }
        let remarks = !(self.notes.is_empty() && self.silent.is_empty());
        if remarks && !self.connections.is_empty() {
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        self.silent.iter().try_for_each(|it| writeln!(f, "no answer: {it}"))
    }
}

impl fmt::Display for TracedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { explanation: it, kernel, .. } = self;
        write!(f, "{} → {}", it.from, it.to)?;
        match (it.port, &it.protocol) {
            (Some(port), Some(protocol)) => write!(f, " port {port}/{protocol}")?,
            _ => write!(f, ", protocols without ports")?,
        }
        if let Some(service) = &it.service {
            write!(f, " by Service {service}")?;
        }
        let policies = if it.allowed { "allowed" } else { "denied" };
        writeln!(f, ": by the kernel {kernel}, by the policies {policies}")?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {}. {step}", number + 1)?;
        }
        for end in &it.ends {
            let found = self.kernel_ends.iter().find(|it| it.is(end));
            let found = found.map_or_else(
                || "no agent answered for it".to_owned(),
                |it| {
                    let verdict = if it.allowed { "allowed" } else { "denied" };
                    format!("{verdict} ({})", it.reason.as_deref().unwrap_or("nothing was counted"))
                },
            );
            writeln!(
                f,
                "  {} of {}, by the kernel: {found}; by the policies:",
                end.direction, end.pod
            )?;
            end.to_string().lines().try_for_each(|it| writeln!(f, "  {it}"))?;
        }
        self.differences.iter().try_for_each(|it| writeln!(f, "  DIFFERENCE: {it}"))
    }
}

impl fmt::Display for TraceStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} of {}", self.program, self.interface, self.node)?;
        if let Some(pod) = &self.pod {
            write!(f, " ({pod})")?;
        }
        let verdict = if self.passes { "passes" } else { "is dropped" };
        write!(f, ": {} {verdict}", self.packet)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        if !self.reached {
            write!(f, "; it does not get here, and was asked all the same")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
