//! The ends of a connection, as people name them.

use std::net::IpAddr;

use enforcer_core::explain::{Workload, Workloads};
use enforcer_core::model::{Cluster, Pod, PodId, Protocol, ServiceId};

/// An end that can't be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndError {
    /// The text is no end.
    #[error(
        "{0}: expected NAMESPACE/POD, KIND/NAME (deploy, sts, ds, rs, job, pod, svc, ns), \
         NAMESPACE/KIND/NAME, a namespace, an address, `node` or `outside`"
    )]
    Syntax(String),
    /// The port is no port.
    #[error("{0}: expected a port as in :443, :443/UDP or :https, or /ICMP")]
    Port(String),
    /// The cluster has no such object.
    #[error("there is no {kind} {name}{hint}")]
    Missing {
        /// The kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What there is instead.
        hint: String,
    },
    /// The text names no object to delete.
    #[error(
        "{0}: expected KIND/NAMESPACE/NAME of an object to delete (netpol, pod, svc, deploy, sts, ds, rs, \
         job) or ns/NAME"
    )]
    Deletion(String),
    /// The ends are too many pods for an agent.
    #[error(
        "{0} stands for too many pods: an agent answers about {1} at most; name a workload or a pod"
    )]
    TooMany(String, usize),
    /// No pod of this end has an address.
    #[error("{0} has no pods")]
    Empty(String),
}

/// An end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The other end's own node.
    Node,
    /// An address that belongs to nothing in the cluster.
    Outside,
    /// An address.
    Address(IpAddr),
    /// Pods; never empty.
    Pods(Vec<PodId>),
    /// A Service.
    Service(ServiceId),
}

/// A port, as the question names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Port {
    Number(Protocol, u16),
    /// A name of a Service's or a container's port.
    Named(String),
    /// A protocol without ports.
    Portless,
}

/// Splits `END[:PORT[/PROTO]]`.
pub(super) fn split(text: &str) -> Result<(&str, Option<Port>), EndError> {
    if let Some(end) = strip_portless(text) {
        return Ok((end, Some(Port::Portless)));
    }
    let wrong = || EndError::Port(text.to_owned());
    let (end, port) = if text.starts_with('[') {
        let (address, rest) = text.split_once(']').ok_or_else(wrong)?;
        match rest.strip_prefix(':') {
            Some(port) => (address.trim_start_matches('['), port),
            None if rest.is_empty() => return Ok((address.trim_start_matches('['), None)),
            None => return Err(wrong()),
        }
    } else if text.parse::<IpAddr>().is_ok() {
        return Ok((text, None));
    } else {
        match text.rsplit_once(':') {
            Some(parts) => parts,
            None => return Ok((text, None)),
        }
    };
    let (port, protocol) = match port.split_once('/') {
        None => (port, Protocol::Tcp),
        Some((port, name)) => {
            let is_named = |it: &Protocol| it.name().eq_ignore_ascii_case(name);
            (port, Protocol::ALL.into_iter().find(is_named).ok_or_else(wrong)?)
        }
    };
    match port.parse() {
        Ok(number) if number != 0 => Ok((end, Some(Port::Number(protocol, number)))),
        _ if port.is_empty() || port.parse::<i64>().is_ok() => Err(wrong()),
        _ => Ok((end, Some(Port::Named(port.to_owned())))),
    }
}

fn strip_portless(text: &str) -> Option<&str> {
    let (end, last) = text.rsplit_once('/')?;
    let known = ["icmp", "icmpv6", "esp", "gre"];
    known.iter().any(|it| it.eq_ignore_ascii_case(last)).then(|| end.trim_end_matches(':'))
}

/// The kinds by which ends are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pod,
    Service,
    Namespace,
    Workload(&'static str),
}

fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "pod" | "pods" | "po" => Kind::Pod,
        "svc" | "service" | "services" => Kind::Service,
        "ns" | "namespace" | "namespaces" => Kind::Namespace,
        "deploy" | "deployment" | "deployments" => Kind::Workload("deploy"),
        "sts" | "statefulset" | "statefulsets" => Kind::Workload("sts"),
        "ds" | "daemonset" | "daemonsets" => Kind::Workload("ds"),
        "rs" | "replicaset" | "replicasets" => Kind::Workload("rs"),
        "job" | "jobs" => Kind::Workload("job"),
        _ => return None,
    })
}

/// Whether ends are named by this kind.
pub(super) fn is_kind(word: &str) -> bool {
    kind(word).is_some()
}

/// Finds an end by its name; names without a namespace are in `namespace`.
pub(super) fn find(
    cluster: &Cluster,
    workloads: &Workloads,
    namespace: &str,
    text: &str,
) -> Result<End, EndError> {
    match text {
        "node" => return Ok(End::Node),
        "outside" => return Ok(End::Outside),
        _ => {}
    }
    if let Ok(address) = text.parse() {
        return Ok(End::Address(address));
    }
    let parts: Vec<&str> = text.split('/').collect();
    if parts.iter().any(|it| it.is_empty()) {
        return Err(EndError::Syntax(text.to_owned()));
    }
    match parts.as_slice() {
        [name] => namespace_pods(cluster, name)
            .map_err(|error| of_that_name(cluster, workloads, namespace, name).unwrap_or(error)),
        [first, name] => match kind(first) {
            Some(kind) => object(cluster, workloads, kind, namespace, name),
            None => object(cluster, workloads, Kind::Pod, first, name),
        },
        [first, second, name] => match kind(second) {
            Some(kind) => object(cluster, workloads, kind, first, name),
            None => Err(EndError::Syntax(text.to_owned())),
        },
        _ => Err(EndError::Syntax(text.to_owned())),
    }
}

fn object(
    cluster: &Cluster,
    workloads: &Workloads,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<End, EndError> {
    let full = || format!("{namespace}/{name}");
    match kind {
        Kind::Namespace => namespace_pods(cluster, name),
        Kind::Pod => {
            let id = PodId::new(namespace, name);
            let known = cluster.pods.contains_key(&id);
            known.then(|| End::Pods(vec![id])).ok_or_else(|| EndError::Missing {
                kind: "pod",
                name: full(),
                hint: hint(name, pods_of(cluster, namespace).map(|it| it.id.name.as_str())),
            })
        }
        Kind::Service => {
            let id = ServiceId::new(namespace, name);
            let known = cluster.services.contains_key(&id);
            let here = cluster.services.keys().filter(|it| it.namespace == namespace);
            known.then_some(End::Service(id)).ok_or_else(|| EndError::Missing {
                kind: "Service",
                name: full(),
                hint: hint(name, here.map(|it| it.name.as_str())),
            })
        }
        Kind::Workload(kind) => {
            let workload = |pod: &&Pod| workloads.of(pod);
            let here = pods_of(cluster, namespace);
            let own = here.filter(|pod| is_called(&workload(pod), kind, name));
            let own: Vec<PodId> = own.map(|it| it.id.clone()).collect();
            let names = pods_of(cluster, namespace).map(|it| workloads.of(it).name);
            let names: Vec<String> = names.collect();
            let missing = || EndError::Missing {
                kind: "workload",
                name: format!("{namespace}/{kind}/{name}"),
                hint: hint(name, names.iter().map(String::as_str)),
            };
            (!own.is_empty()).then_some(End::Pods(own)).ok_or_else(missing)
        }
    }
}

fn is_called(workload: &Workload, kind: &str, name: &str) -> bool {
    workload.name == name && workload.kind == kind
}

fn pods_of<'a>(cluster: &'a Cluster, namespace: &str) -> impl Iterator<Item = &'a Pod> + use<'a> {
    let here = cluster.pods.range(PodId::new(namespace, "")..).map(|(_, pod)| pod);
    let namespace = namespace.to_owned();
    here.take_while(move |it| it.id.namespace == namespace.as_str())
}

fn namespace_pods(cluster: &Cluster, name: &str) -> Result<End, EndError> {
    let pods = pods_of(cluster, name).filter(|pod| pod.is_peer());
    let pods: Vec<PodId> = pods.map(|it| it.id.clone()).collect();
    if !pods.is_empty() {
        return Ok(End::Pods(pods));
    }
    if cluster.namespaces.contains_key(name) {
        return Err(EndError::Empty(format!("namespace {name}")));
    }
    let names = cluster.namespaces.keys().map(String::as_str);
    let hint = hint(name, names);
    Err(EndError::Missing { kind: "namespace", name: name.to_owned(), hint })
}

/// The error for a word that is no namespace, but the name of something else.
fn of_that_name(
    cluster: &Cluster,
    workloads: &Workloads,
    namespace: &str,
    name: &str,
) -> Option<EndError> {
    if cluster.namespaces.contains_key(name) {
        return None;
    }
    let named = |pod: &Pod| Some(workloads.of(pod)).filter(|it| it.name == name);
    let kind = match pods_of(cluster, namespace).find_map(named) {
        _ if cluster.pods.contains_key(&PodId::new(namespace, name)) => "pod",
        Some(workload) => workload.kind,
        None if cluster.services.contains_key(&ServiceId::new(namespace, name)) => "svc",
        None => return None,
    };
    let hint = format!("; did you mean {kind}/{name}, of the namespace {namespace}?");
    Some(EndError::Missing { kind: "namespace", name: name.to_owned(), hint })
}

/// The nearest name, if one is near.
pub(super) fn hint<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = names.map(|it| (strsim::damerau_levenshtein(name, it), it)).min();
    let near = near.filter(|(distance, it)| *distance <= (it.len() / 3).max(1));
    near.map(|(_, it)| format!("; did you mean {it}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use enforcer_core::model::Change;

    use super::*;

    #[test]
    fn a_word_that_names_something_else_has_a_hint() {
        let mut cluster = Cluster::default();
        cluster.apply(Change::Pod(Pod::new(PodId::new("default", "web"))));
        let found = |word| find(&cluster, &Workloads::default(), "default", word);
        let error = found("web").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no namespace web; did you mean pod/web, of the namespace default?"
        );
        assert_eq!(found("db").unwrap_err().to_string(), "there is no namespace db");
        assert!(found("pod/web").is_ok());
    }

    #[test]
    fn ports_follow_the_end() {
        let tcp = |port| Some(Port::Number(Protocol::Tcp, port));
        for (text, end, port) in [
            ("shop/web", "shop/web", None),
            ("shop/web:80", "shop/web", tcp(80)),
            ("svc/web:http", "svc/web", Some(Port::Named("http".into()))),
            ("shop/web:53/udp", "shop/web", Some(Port::Number(Protocol::Udp, 53))),
            ("shop/web/ICMP", "shop/web", Some(Port::Portless)),
            ("shop:icmp", "shop", Some(Port::Named("icmp".into()))),
            ("10.0.0.1:80", "10.0.0.1", tcp(80)),
            ("fd00::1", "fd00::1", None),
            ("[fd00::1]:80", "fd00::1", tcp(80)),
            ("[fd00::1]", "fd00::1", None),
        ] {
            assert_eq!(split(text), Ok((end, port)), "{text}");
        }
        for wrong in ["shop/web:", "shop/web:0", "shop/web:80/ICM", "shop/web:65536", "[fd00::1"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
