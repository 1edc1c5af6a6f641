//! Address blocks of policies.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::IPBlock;

use super::Problem;
use enforcer_core::model::Block;

/// An `ipBlock` (semantics R5); `None` after an error.
pub(super) fn block(object: &IPBlock, path: &str, problems: &mut Vec<Problem>) -> Option<Block> {
    let cidr = network(&object.cidr, &format!("{path}.cidr"), problems);
    let mut except = std::collections::BTreeSet::new();
    for (index, text) in object.except.iter().flatten().enumerate() {
        let path = format!("{path}.except[{index}]");
        let exception = network(text, &path, problems);
        if let (Some(cidr), Some(exception)) = (cidr, exception) {
            except.extend(clip(cidr, exception, &path, problems));
        }
    }
    Some(Block { cidr: cidr?, except })
}

/// The part of an exception that lies in the block. Networks nest or are disjoint, so it is the
/// exception, the whole block, or nothing. New objects need a strict subset (`ValidateIPBlock` in
/// kubernetes/kubernetes, `pkg/apis/networking/validation/validation.go`).
fn clip(cidr: IpNet, except: IpNet, path: &str, problems: &mut Vec<Problem>) -> Option<IpNet> {
    if except != cidr && cidr.contains(&except) {
        return Some(except);
    }
    if except.contains(&cidr) {
        let message = format!("{except} covers all of {cidr}: this peer matches nothing");
        problems.push(Problem::only_old(path, message).help("remove the peer, or the exception"));
        return Some(cidr);
    }
    let message = format!("{except} is outside of {cidr} and has no effect");
    problems.push(Problem::only_old(path, message).help("remove it"));
    None
}

/// An address with its prefix length. What the API server has from earlier releases may have host bits
/// and leading zeros, or be an IPv4-mapped IPv6 block (`IsValidCIDRForLegacyField` in
/// kubernetes/kubernetes, `pkg/apis/core/validation/validation.go`).
fn network(text: &str, path: &str, problems: &mut Vec<Problem>) -> Option<IpNet> {
    let Ok(network) = text.parse::<IpNet>() else {
        problems.push(no_network(text, path));
        return None;
    };
    let masked = network.trunc();
    if let IpNet::V6(v6) = masked
        && v6.addr().to_ipv4_mapped().is_some()
        && v6.prefix_len() >= MAPPED
    {
        let message = format!("`{text}` is an IPv4-mapped block, which no packet matches");
        let problem = Problem::only_old(path, message);
        let v4 = v6.addr().to_ipv4_mapped().map(|it| format!("{it}/{}", v6.prefix_len() - MAPPED));
        problems.push(problem.help(format!("write {}", v4.unwrap_or_default())));
    } else if masked != network {
        let message = format!("`{text}` has host bits set; it is taken as {masked}");
        let one = IpNet::from(network.addr());
        let help = format!("write {masked}, or {one} for this one address");
        problems.push(Problem::only_old(path, message).help(help));
    } else if has_leading_zeros(text) {
        let message = format!("`{text}` has leading zeros; it is taken as {masked}");
        problems.push(Problem::only_old(path, message).help(format!("write {masked}")));
    }
    Some(masked)
}

/// The length of the prefix of IPv4-mapped addresses.
const MAPPED: u8 = 96;

/// Leading zeros of an IPv4 address or a prefix length: other programs read them as octal.
fn has_leading_zeros(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    (length.len() > 1 && length.starts_with('0')) || address.parse::<IpAddr>().is_err()
}

fn no_network(text: &str, path: &str) -> Problem {
    const BLOCK: &str = "an address and a prefix length, such as 10.0.0.0/8 or fd00::/8";
    if text.is_empty() {
        return Problem::error(path, "missing: a block of addresses is needed").help(BLOCK);
    }
    let Ok(address) = text.parse::<IpAddr>() else {
        return Problem::error(path, format!("`{text}` is not an address block")).help(BLOCK);
    };
    let problem = Problem::error(path, format!("`{text}` has no prefix length"));
    let one = IpNet::from(address);
    problem.help(match address {
        _ if address.is_unspecified() => format!("write {address}/0 for every address"),
        IpAddr::V4(v4) if v4.octets().ends_with(&[0]) => {
            let zeros = v4.octets().iter().rev().take_while(|it| **it == 0).count();
            let length = 32 - 8 * zeros;
            format!("write {address}/{length} for the block, or {one} for this one address")
        }
        _ => format!("write {one} for this one address"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::remark::Severity;

    fn convert(cidr: &str, except: &[&str]) -> (Option<Block>, Vec<Problem>) {
        let except = Some(except.iter().map(ToString::to_string).collect());
        let mut problems = Vec::new();
        let block = block(&IPBlock { cidr: cidr.into(), except }, "b", &mut problems);
        (block, problems)
    }

    fn expect_block(block: Option<&Block>, cidr: &str, except: &[&str]) {
        let except = except.iter().map(|it| it.parse().unwrap()).collect();
        assert_eq!(block, Some(&Block { cidr: cidr.parse().unwrap(), except }));
    }

    #[test]
    fn r5_both_families() {
        for (cidr, except) in [("10.0.0.0/8", "10.1.0.0/16"), ("fd00::/8", "fd01::/16")] {
            let (block, problems) = convert(cidr, &[except]);
            assert_eq!(problems, []);
            expect_block(block.as_ref(), cidr, &[except]);
        }
    }

    #[test]
    fn r5_host_bits_are_masked() {
        let (block, problems) = convert("10.1.2.3/8", &["10.9.9.9/16"]);
        expect_block(block.as_ref(), "10.0.0.0/8", &["10.9.0.0/16"]);
        assert!(problems.iter().all(|it| it.severity == Severity::Warning));
        assert_eq!(
            problems[0].to_string(),
            "b.cidr: `10.1.2.3/8` has host bits set; it is taken as 10.0.0.0/8 (write 10.0.0.0/8, or \
             10.1.2.3/32 for this one address)"
        );
        assert_eq!(problems[1].path, "b.except[0]");
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn r5_exceptions_outside_are_ignored() {
        let (block, problems) = convert("10.0.0.0/8", &["11.0.0.0/16", "fd00::/8"]);
        expect_block(block.as_ref(), "10.0.0.0/8", &[]);
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[0].severity, Severity::Warning);
        assert_eq!(
            problems[0].to_string(),
            "b.except[0]: 11.0.0.0/16 is outside of 10.0.0.0/8 and has no effect (remove it)"
        );
    }

    #[test]
    fn r5_an_exception_that_covers_the_block_leaves_nothing() {
        for except in ["10.1.0.0/16", "10.0.0.0/8"] {
            let (block, problems) = convert("10.1.0.0/16", &[except]);
            expect_block(block.as_ref(), "10.1.0.0/16", &["10.1.0.0/16"]);
            assert_eq!(problems[0].severity, Severity::Warning);
        }
    }

    #[test]
    fn r5_new_objects_must_be_exact() {
        for (cidr, except) in [
            ("10.1.2.3/8", &[][..]),
            ("010.0.0.0/8", &[]),
            ("10.0.0.0/08", &[]),
            ("::ffff:10.0.0.0/104", &[]),
            ("10.0.0.0/8", &["10.0.0.0/8"]),
            ("10.0.0.0/8", &["11.0.0.0/9"]),
            ("10.0.0.0/8", &["fd00::/9"]),
            ("10.0.0.0/8", &["10.9.9.9/16"]),
        ] {
            let (block, problems) = convert(cidr, except);
            let converted = crate::source::convert::Converted { value: block, problems };
            assert!(converted.value.is_some(), "{cidr}: the API server may have it");
            let new = converted.as_new();
            assert_eq!(new.value, None, "{cidr} {except:?}");
            assert_eq!(new.problems[0].severity, Severity::Error);
        }
        for cidr in ["::10.0.0.0/104", "FD00::/8", "fd00:0:0:0:0:0:0:0/8", "0.0.0.0/0", "::/0"] {
            assert_eq!(convert(cidr, &[]).1, [], "{cidr}");
        }
    }

    #[test]
    fn bad_networks() {
        let problem = |cidr| {
            let (block, problems) = convert(cidr, &[]);
            assert_eq!(block, None);
            assert_eq!(problems[0].severity, Severity::Error);
            problems[0].to_string()
        };
        assert!(problem("10.0.0.1").contains("(write 10.0.0.1/32 "));
        assert!(problem("0.0.0.0").contains("(write 0.0.0.0/0 for every address)"));
        assert!(problem("::").contains("(write ::/0 for every address)"));
        assert!(problem("10.1.0.0").contains("(write 10.1.0.0/16 for the block, or 10.1.0.0/32 "));
        assert!(problem("fd00::1").contains("(write fd00::1/128 "));
        assert!(problem("").contains("missing: "), "{}", problem(""));
        for text in ["10.0.0.0/33", "fd00::/129", "x/8", "10.0.0/8", "10.0.0.0/8 "] {
            assert!(problem(text).contains("is not an address block"), "{text}");
        }
    }
}
