//! `enforcer explain`, `describe` and `diff`: arguments in, text and exit code out.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::agent::DEFAULT_STATUS;
use super::ask::ask;
use super::connection::ConnectionArgs;
use crate::inspect::{self, Answer, Output, Side, State, StateOptions, Subject};
use crate::observe::Asked;
use crate::source::kubernetes::ClientOptions;
use crate::source::manifests::Input;

/// The help of `explain` after its options.
pub(super) const EXPLAIN_HELP: &str =
    "Ends: NAMESPACE/POD, KIND/NAME or NAMESPACE/KIND/NAME (deploy, \
sts, ds, rs, job, pod, svc, ns), a namespace, an address, `node` (the other end's own), `outside`.
PORT is a number or a name; PROTO is TCP, UDP or SCTP; END/ICMP asks about protocols without ports.

In the answer, S4 and the like are the rules of ARCHITECTURE.md; `nearest` is the rule that would allow the \
connection after the fewest changes, and what these are.

Exit codes: 0 everything that was asked about is allowed, 1 all of it is denied, 3 some of it is \
denied, 2 error. Manifests with errors are answered as the agent enforces them, with exit code 2.

Examples:
  enforcer explain shop/web-0 svc/db:5432 --namespace shop
  enforcer explain --manifests ./policies shop/web-0 shop/db-0:5432
  enforcer explain outside shop/deploy/web:443 --all
  enforcer explain --agent shop/web-0 shop/db-0:5432
  enforcer explain shop/web-0 10.20.0.7:443 --what-if new-policy.yaml
  helm template . | enforcer explain shop/web-0 shop/db-0:5432 --what-if -
  enforcer explain shop/web shop/svc/db --what-if-delete netpol/shop/db";

/// The help of `describe` after its options.
pub(super) const DESCRIBE_HELP: &str =
    "Without NAME: the coverage of every namespace. INGRESS and EGRESS \
are the pods that policies isolate in this direction; unprotected pods are isolated in none.

Exit codes: 0 success, 2 error. Manifests with errors are described as the agent enforces them, with exit \
code 2.

Examples:
  enforcer describe
  enforcer describe shop
  enforcer describe --manifests ./policies shop/netpol/db-clients
  enforcer describe pod/web-0 --namespace shop --output yaml";

/// The help of `diff` after its options.
pub(super) const DIFF_HELP: &str = "OLD and NEW: a file, a folder, `-` (standard input), `cluster` (the API \
server), a git revision, or REVISION:PATH with a path from the present folder. A revision alone is about the file or folder \
on the other side, else about everything below the present folder. A side without pods has those of the other \
side: a folder of policies can be compared with a cluster.

Exit codes: 0 no connection changes, 1 some do, 2 error. Manifests with errors are compared as the agent \
enforces them, with exit code 2.

Examples:
  enforcer diff cluster ./policies
  enforcer diff HEAD~1 HEAD
  enforcer diff main:old ./policies
  kustomize build . | enforcer diff cluster -
  enforcer diff --output markdown main ./policies";

/// Where the state is read.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// Read manifests in this file or directory instead of the API server; `-` is standard input. May be
    /// repeated.
    #[arg(long, value_name = "PATH")]
    pub manifests: Vec<PathBuf>,
    /// Apply the manifests in this file or directory first; `-` is standard input. May be repeated.
    #[arg(long, value_name = "PATH")]
    pub what_if: Vec<PathBuf>,
    /// Delete this object first: KIND/NAMESPACE/NAME (netpol, pod, svc, deploy, sts, ds, rs, job), or ns/NAME
    /// with everything in it; may be repeated.
    #[arg(long, value_name = "OBJECT")]
    pub what_if_delete: Vec<String>,
    /// The API server.
    #[command(flatten)]
    pub client: ClientArgs,
    /// Range of the addresses that are assumed for pods without one.
    #[arg(long, default_value = inspect::DEFAULT_POD_CIDR, value_name = "CIDR")]
    pub pod_cidr: IpNet,
}

/// The API server to read.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Kubeconfig with the API server and the credentials [default: KUBECONFIG, else the cluster of
    /// this pod, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: the current one].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// The arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The connection.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Read the state of the agent on this node, by its status address; without an address, the default one.
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEFAULT_STATUS,
        conflicts_with_all = ["manifests", "what_if", "what_if_delete", "kubeconfig", "context"],
        value_name = "ADDRESS:PORT"
    )]
    pub agent: Option<SocketAddr>,
    /// The source.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// The arguments of `describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// A namespace, NAMESPACE/NAME of a pod or policy, pod/NAME, netpol/NAME or ns/NAME.
    pub name: Option<String>,
    /// Namespace of names without one.
    #[arg(long, short, default_value = "default", value_name = "NAME")]
    pub namespace: String,
    /// The source.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// The output formats of `diff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum DiffOutput {
    /// Text for people.
    #[default]
    Text,
    /// Markdown, for comments on a change.
    Markdown,
    /// JSON for programs; see docs/json.md.
    Json,
    /// The same as YAML.
    Yaml,
}

/// The arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The state before.
    pub old: String,
    /// The state after.
    pub new: String,
    /// The API server.
    #[command(flatten)]
    pub client: ClientArgs,
    /// Range of the addresses that are assumed for pods without one.
    #[arg(long, default_value = inspect::DEFAULT_POD_CIDR, value_name = "CIDR")]
    pub pod_cidr: IpNet,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: DiffOutput,
}

impl ClientArgs {
    /// Takes what is not given from the plugin's own arguments.
    pub(super) fn default_to(&mut self, others: ClientOptions) {
        self.kubeconfig = self.kubeconfig.take().or(others.kubeconfig);
        self.context = self.context.take().or(others.context);
    }

    fn options(self) -> ClientOptions {
        ClientOptions { kubeconfig: self.kubeconfig, context: self.context }
    }
}

impl SourceArgs {
    pub(super) fn options(self) -> anyhow::Result<StateOptions> {
        Ok(StateOptions {
            manifests: Input::open_all(self.manifests)?,
            client: self.client.options(),
            what_if: Input::open_all(self.what_if)?,
            what_if_delete: self.what_if_delete,
            pod_cidr: Some(self.pod_cidr),
        })
    }

    /// The state of files without errors, or of the API server.
    pub(super) async fn read(self) -> anyhow::Result<State> {
        let state = State::read(&self.options()?).await?.valid()?;
        warn(&state);
        Ok(state)
    }

    /// The state as the agent enforces it, errors included.
    async fn read_as_enforced(self) -> anyhow::Result<State> {
        let state = State::read(&self.options()?).await?;
        warn(&state);
        Ok(state)
    }
}

/// Shows the remarks on manifests, whose lines name their severity.
pub(super) fn warn(state: &State) {
    let errors = inspect::first_few(&state.errors);
    for remark in errors.lines().chain(state.remarks.iter().map(String::as_str)) {
        // Nobody may read it.
        let _ = writeln!(io::stderr(), "{remark}");
    }
}

/// The exit code of an answer: that of errors if there are any, since a script may look at nothing else.
fn code(states: &[&State], answer: u8) -> u8 {
    let failed = states.iter().any(|it| !it.errors.is_empty());
    if failed { 2 } else { answer }
}

/// Explains connections. Returns the text and the exit code.
///
/// # Errors
/// The state can't be read, or an end does not exist.
pub async fn explain(arguments: ExplainArgs) -> anyhow::Result<(String, u8)> {
    let output = arguments.output;
    let (answer, code) = answer(arguments).await?;
    let text = inspect::document("explain", &answer, output)?;
    Ok((text.unwrap_or_else(|| answer.to_string()), code))
}

/// The answer to a question about connections, and the exit code.
pub(super) async fn answer(arguments: ExplainArgs) -> anyhow::Result<(Answer, u8)> {
    let ExplainArgs { connection, agent, source, .. } = arguments;
    if let Some(agent) = agent {
        let path = connection.live().path(Asked::Explain);
        let answer: Answer = serde_json::from_str(&ask(agent, "GET", &path, "")?)?;
        let code = answer.exit_code();
        return Ok((answer, code));
    }
    let state = source.read_as_enforced().await?;
    let answer = inspect::ask(&state, &connection.question())?;
    let code = code(&[&state], answer.exit_code());
    Ok((answer, code))
}

/// Describes an object, or the coverage of namespaces. Returns the text and the exit code.
///
/// # Errors
/// The state can't be read, or there is no such object.
pub async fn describe(arguments: DescribeArgs) -> anyhow::Result<(String, u8)> {
    let DescribeArgs { name, namespace, source, output } = arguments;
    let state = source.read_as_enforced().await?;
    let subject = name.map_or(Subject::Everything, Subject::Named);
    let description = inspect::describe(&state, &subject, &namespace)?;
    let text = inspect::document("describe", &description, output)?;
    Ok((text.unwrap_or_else(|| description.to_string()), code(&[&state], 0)))
}

/// Compares two states. Returns the text and the exit code.
///
/// # Errors
/// A state can't be read.
pub async fn diff(arguments: DiffArgs) -> anyhow::Result<(String, u8)> {
    let DiffArgs { old, new, client, pod_cidr, output } = arguments;
    let client = client.options();
    let [old, new] = Side::both([&old, &new]);
    let old = State::side(&old, &client).await?;
    let new = State::side(&new, &client).await?;
    warn(&old);
    warn(&new);
    let failed = code(&[&old, &new], 0);
    let diff = inspect::compare(old, new, Some(pod_cidr));
    let text = match output {
        DiffOutput::Text => diff.to_string(),
        DiffOutput::Markdown => diff.markdown(),
        DiffOutput::Json => inspect::document("diff", &diff, Output::Json)?.unwrap_or_default(),
        DiffOutput::Yaml => inspect::document("diff", &diff, Output::Yaml)?.unwrap_or_default(),
    };
    Ok((text, failed.max(u8::from(!diff.is_empty()))))
}
