//! The same Services by kube-proxy's ipvs mode, whose path differs: a Service's address is one of the
//! node, and the kernel's virtual server sends the packet out again. Only `cargo xtask vm-test --lab` has
//! kernels with ip_vs.

use enforcer_tests::lab::{Proxy, Topology};

use super::{connections, datagrams, egress, ingress, stand_in};
use crate::scene::Setup;

// Both: a packet comes from the bridge, or from the pod's own interface.
machine_scenarios! {
    vm_all_are_served_on_kubenet: Setup::unguarded((Topology::Kubenet, Proxy::Ipvs)) =>
        stand_in::all_are_served;
    vm_all_are_served_on_azure_cni: Setup::unguarded((Topology::AzureCni, Proxy::Ipvs)) =>
        stand_in::all_are_served;
    vm_n1_the_chosen_backend_decides_on_kubenet: (Topology::Kubenet, Proxy::Ipvs) =>
        egress::the_backend_decides;
    vm_n1_the_chosen_backend_decides_on_azure_cni: (Topology::AzureCni, Proxy::Ipvs) =>
        egress::the_backend_decides;
    vm_n2_blocks_match_backends_on_azure_cni: (Topology::AzureCni, Proxy::Ipvs) =>
        egress::blocks_match_backends;
    vm_a1_a_pod_reaches_itself_on_kubenet: (Topology::Kubenet, Proxy::Ipvs) => egress::itself;
    vm_a1_a_pod_reaches_itself_on_azure_cni: (Topology::AzureCni, Proxy::Ipvs) => egress::itself;
    vm_a2_the_own_node_serves_on_azure_cni: (Topology::AzureCni, Proxy::Ipvs) =>
        egress::the_own_node;
    vm_n3_pods_keep_their_identity_on_kubenet: (Topology::Kubenet, Proxy::Ipvs) =>
        ingress::pods_keep_their_identity;
    vm_n3_pods_keep_their_identity_on_azure_cni: (Topology::AzureCni, Proxy::Ipvs) =>
        ingress::pods_keep_their_identity;
    vm_n3_clients_outside_keep_their_identity_on_azure_cni: (Topology::AzureCni, Proxy::Ipvs) =>
        ingress::clients_outside_keep_their_identity;
    vm_c2_n4_open_connections_on_kubenet: (Topology::Kubenet, Proxy::Ipvs) =>
        connections::on_one_node;
    vm_c2_n4_open_connections_on_azure_cni: (Topology::AzureCni, Proxy::Ipvs) =>
        connections::on_one_node;
    vm_p2_n4_large_datagrams_on_azure_cni: (Topology::AzureCni, Proxy::Ipvs) =>
        datagrams::large_on_one_node;
    vm_p2_n3_large_datagrams_of_masqueraded_clients: (Topology::Kubenet, Proxy::Ipvs) =>
        datagrams::large_from_outside;
}
