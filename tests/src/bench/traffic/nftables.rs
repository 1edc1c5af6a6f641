//! nftables as a careful author would use it for policies: established connections first, a map from
//! the pod's address to its chain, a set of peers for each policy. Its cost does not grow with the
//! number of policies that select other pods.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::addresses::{PORTS, elsewhere, middle};

/// The input of `nft -f -`.
pub(super) fn rules(policies: usize, server: IpAddr, client: IpAddr) -> String {
    let (mut sets, mut chains, mut pods) = (String::new(), String::new(), Vec::new());
    let [first, last] = PORTS;
    for number in 0..policies {
        let (subject, peer) = if number == middle(policies) {
            (server.to_string(), client.to_string())
        } else {
            (elsewhere(number), elsewhere(number + policies))
        };
        pods.push(format!("{subject} : jump policy{number}"));
        // Writing to a String never fails.
        let _ = writeln!(sets, "  set peers{number} {{ type ipv4_addr; elements = {{ {peer} }} }}");
        let _ = writeln!(
            chains,
            "  chain policy{number} {{\n    ip saddr @peers{number} meta l4proto {{ tcp, udp }} th dport \
             {first}-{last} accept\n    drop\n  }}"
        );
    }
    let pods = pods.join(", ");
    format!(
        "table inet bench {{\n{sets}{chains}  map pods {{ type ipv4_addr : verdict; elements = {{ {pods} }} \
         }}\n  chain forward {{\n    type filter hook forward priority filter; policy accept;\n    ct state \
         established,related accept\n    ip daddr vmap @pods\n  }}\n}}\n"
    )
}
