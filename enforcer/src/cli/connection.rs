//! The arguments of commands about a connection.

use clap::Args;

use crate::inspect::Question;
use crate::observe::LiveQuestion;

/// A connection.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArgs {
    /// The sender.
    pub from: String,
    /// The receiver, as END[:PORT[/PROTO]] [default of the port: every port that it declares].
    pub to: String,
    /// Namespace of names without one.
    #[arg(long, short, default_value = "default", value_name = "NAME")]
    pub namespace: String,
    /// Show every rule of the policies that isolate an end.
    #[arg(long)]
    pub all: bool,
}

impl ConnectionArgs {
    /// The question about a state.
    pub(super) fn question(self) -> Question {
        let Self { from, to, namespace, all } = self;
        Question { from, to, namespace, all }
    }

    /// The question to an agent.
    pub(super) fn live(self) -> LiveQuestion {
        let Self { from, to, namespace, all } = self;
        LiveQuestion { from, to, namespace, all }
    }
}
