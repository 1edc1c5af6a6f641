//! Kinds of labs.

use clap::ValueEnum;

/// How the lab's pods are attached to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// On a bridge, in one subnet
    Kubenet,
    /// Routed, each with a /32
    AzureCni,
}

/// The kind of rules that implement Services in the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proxy {
    /// Those of kube-proxy's mode iptables
    Iptables,
    /// Those of kube-proxy's mode nftables
    Nftables,
}
