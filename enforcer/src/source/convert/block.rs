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
/// exception, the whole block, or nothing.
fn clip(cidr: IpNet, except: IpNet, path: &str, problems: &mut Vec<Problem>) -> Option<IpNet> {
    if except != cidr && cidr.contains(&except) {
        return Some(except);
    }
    if except.contains(&cidr) {
        let message = format!("{except} covers all of {cidr}: this peer matches nothing");
        problems.push(Problem::warning(path, message));
        return Some(cidr);
    }
    let message = format!("{except} is outside of {cidr} and has no effect");
    problems.push(Problem::warning(path, message));
    None
}

/// An address with its prefix length; host bits are masked with a warning.
fn network(text: &str, path: &str, problems: &mut Vec<Problem>) -> Option<IpNet> {
    let Ok(network) = text.parse::<IpNet>() else {
        problems.push(no_network(text, path));
        return None;
    };
    let masked = network.trunc();
    if masked != network {
        let message = format!("`{text}` has host bits set; it is taken as {masked}");
        let help = format!("write {masked}");
        problems.push(Problem::warning(path, message).help(help));
    }
    Some(masked)
}

fn no_network(text: &str, path: &str) -> Problem {
    match text.parse::<IpAddr>() {
        Ok(address) => {
            let network = IpNet::from(address);
            Problem::error(path, format!("`{text}` has no prefix length"))
                .help(format!("write {network} for this one address"))
        }
        Err(_) => Problem::error(path, format!("`{text}` is not an address block"))
            .help("an address and a prefix length, such as 10.0.0.0/8 or fd00::/8"),
    }
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
            "b.cidr: `10.1.2.3/8` has host bits set; it is taken as 10.0.0.0/8 (write 10.0.0.0/8)"
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
            "b.except[0]: 11.0.0.0/16 is outside of 10.0.0.0/8 and has no effect"
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
    fn bad_networks() {
        let problem = |cidr| {
            let (block, problems) = convert(cidr, &[]);
            assert_eq!(block, None);
            assert_eq!(problems[0].severity, Severity::Error);
            problems[0].to_string()
        };
        assert!(problem("10.0.0.1").contains("(write 10.0.0.1/32 "));
        assert!(problem("fd00::1").contains("(write fd00::1/128 "));
        for text in ["", "10.0.0.0/33", "fd00::/129", "x/8", "10.0.0/8", "10.0.0.0/8 "] {
            assert!(problem(text).contains("is not an address block"), "{text}");
        }
    }
}
