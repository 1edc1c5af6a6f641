//! iptables and ipset laid out as Azure NPM does (github.com/Azure/azure-container-networking,
//! npm/pkg/dataplane/policies: `chain-management_linux.go` `creatorForBootup` and
//! `policymanager_linux.go` `creatorForNewNetworkPolicies`, `writeNetworkPolicyRules`; sets in
//! npm/pkg/dataplane/ipsets/ipsetmanager_linux.go).
//!
//! FORWARD sends new connections to AZURE-NPM, which visits AZURE-NPM-INGRESS, AZURE-NPM-EGRESS and
//! AZURE-NPM-ACCEPT. The ingress chain has one jump for each policy, if the destination is in the sets
//! of its namespace and labels; the jumps are walked in order. A policy's chain sends what a rule allows
//! to a chain that marks it and goes on with egress, and marks the rest, which the end of the ingress
//! chain drops.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::addresses::{PORTS, elsewhere, middle};

/// Marks, as NPM's `npm/util/const.go` has them.
const ALLOW: &str = "0x200/0x200";
const DROP: &str = "0x400/0x400";
const DROP_EGRESS: &str = "0x800/0x800";

/// A comment, since NPM's rules have them.
fn comment(text: &str) -> String {
    format!("-m comment --comment {text}")
}

/// The inputs of `ipset restore` and `iptables-restore --noflush`.
pub(super) fn rules(policies: usize, server: IpAddr, client: IpAddr) -> [String; 2] {
    let [first, last] = PORTS;
    let mut sets = format!("create npm-ns hash:net\nadd npm-ns {server}\nadd npm-ns {client}\n");
    let (mut heads, mut chains, mut jumps) = (String::new(), String::new(), String::new());
    for number in 0..policies {
        let (subject, peer) = if number == middle(policies) {
            (server.to_string(), client.to_string())
        } else {
            (elsewhere(number), elsewhere(number + policies))
        };
        // Writing to a String never fails.
        let _ = write!(
            sets,
            "create npm-s{number} hash:net\nadd npm-s{number} {subject}\ncreate npm-p{number} \
             hash:net\nadd npm-p{number} {peer}\n"
        );
        let chain = format!("AZURE-NPM-INGRESS-{number}");
        let _ = writeln!(heads, ":{chain} - -");
        for protocol in ["tcp", "udp"] {
            let _ = writeln!(
                chains,
                "-A {chain} -j AZURE-NPM-INGRESS-ALLOW-MARK -p {protocol} --dport {first}:{last} -m set \
                 --match-set npm-ns src -m set --match-set npm-p{number} src {}",
                comment("ALLOW-FROM-podlabel")
            );
        }
        let _ = writeln!(chains, "-A {chain} -j MARK --set-mark {DROP} {}", comment("DROP-ALL"));
        let _ = writeln!(
            jumps,
            "-A AZURE-NPM-INGRESS -j {chain} -m set --match-set npm-s{number} dst -m set --match-set \
             npm-ns dst {}",
            comment(&format!("INGRESS-POLICY-{number}"))
        );
    }
    let text = format!(
        "*filter\n:AZURE-NPM - -\n:AZURE-NPM-INGRESS - -\n:AZURE-NPM-INGRESS-ALLOW-MARK - \
         -\n:AZURE-NPM-EGRESS - -\n:AZURE-NPM-ACCEPT - -\n{heads}\
         -I FORWARD 1 -j AZURE-NPM -m conntrack --ctstate NEW\n\
         -A AZURE-NPM -j AZURE-NPM-INGRESS\n\
         -A AZURE-NPM -j AZURE-NPM-EGRESS\n\
         -A AZURE-NPM -j AZURE-NPM-ACCEPT\n\
         {jumps}\
         -A AZURE-NPM-INGRESS -j DROP -m mark --mark {DROP} {}\n\
         -A AZURE-NPM-INGRESS-ALLOW-MARK -j MARK --set-mark {ALLOW} {}\n\
         -A AZURE-NPM-INGRESS-ALLOW-MARK -j AZURE-NPM-EGRESS\n\
         -A AZURE-NPM-EGRESS -j DROP -m mark --mark {DROP_EGRESS} {}\n\
         -A AZURE-NPM-EGRESS -j AZURE-NPM-ACCEPT -m mark --mark {ALLOW} {}\n\
         -A AZURE-NPM-ACCEPT -j ACCEPT\n\
         {chains}COMMIT\n",
        comment("DROP-ON-MARK"),
        comment("SET-ALLOW-MARK"),
        comment("DROP-ON-EGRESS-MARK"),
        comment("ACCEPT-ON-MARK"),
    );
    [sets, text]
}
