//! The kernel modules of a machine, in the order of loading.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::{Object as _, ObjectSection as _};

use crate::process;

/// The modules that the kernel tests use: interfaces, the hooks of kernels without TCX, and the filters
/// of others beside ours.
pub(super) const WANTED: &[&str] =
    &["veth", "sch_ingress", "cls_bpf", "bridge", "ifb", "cls_u32", "act_mirred"];

/// Those that the lab uses in addition: kube-proxy's ipvs mode and its rules, SCTP, conntrack. They are
/// no part of other machines: bridges behave differently with them.
pub(super) const LAB: &[&str] = &[
    "dummy",
    "sctp",
    "br_netfilter",
    "nf_conntrack_netlink",
    "ip_vs",
    "ip_vs_rr",
    "ip_set",
    "ip_set_hash_ipport",
    "ip_set_hash_ipportip",
    "ip_set_bitmap_port",
    "nft_compat",
    "nft_chain_nat",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_mark",
    "xt_MASQUERADE",
    "xt_nat",
    "xt_sctp",
    "xt_set",
    "xt_statistic",
    "xt_tcpudp",
];

/// Those that are modules in some kernels only.
pub(super) const LAB_OPTIONAL: &[&str] = &["nft_counter", "ipt_REJECT", "ip6t_REJECT"];

/// A module with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Reads the wanted modules from an unpacked kernel's folder (`lib/modules/RELEASE`), each after
/// its dependencies. Those that `may_lack` names need not exist.
pub(super) fn collect(folder: &Path, wanted: &[&str], may_lack: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(&folder.join("kernel"), &mut files)?;
    let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let builtin: Vec<_> = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect();
    let mut contents = BTreeMap::new();
    let optional = may_lack.iter().filter(|name| files.contains_key(**name));
    let wanted: Vec<_> = wanted.iter().chain(optional).copied().collect();
    let order = order(&wanted, |name| {
        if builtin.iter().any(|it| it == name) {
            return Ok(None);
        }
        let path = files.get(name).with_context(|| format!("there is no module {name}"))?;
        let content = read(path)?;
        let needs = needs(&content).with_context(|| format!("module {name}"))?;
        contents.insert(name.to_owned(), content);
        Ok(Some(needs))
    })?;
    let take = |name: String| {
        let content = contents.remove(&name).unwrap_or_default();
        Module { name, content }
    };
    Ok(order.into_iter().map(take).collect())
}

/// Sorts modules after their dependencies, which `needs` returns: `None` for a built-in module.
fn order(
    wanted: &[&str],
    mut needs: impl FnMut(&str) -> Result<Option<Vec<String>>>,
) -> Result<Vec<String>> {
    let mut done = Vec::new();
    let mut seen = Vec::new();
    for name in wanted {
        visit(name, &mut needs, &mut seen, &mut done)?;
    }
    Ok(done)
}

fn visit(
    name: &str,
    needs: &mut impl FnMut(&str) -> Result<Option<Vec<String>>>,
    seen: &mut Vec<String>,
    done: &mut Vec<String>,
) -> Result<()> {
    if done.iter().any(|it| it == name) {
        return Ok(());
    }
    if seen.iter().any(|it| it == name) {
        bail!("module {name} depends on itself");
    }
    seen.push(name.to_owned());
    if let Some(list) = needs(name)? {
        for other in list {
            visit(&other, needs, seen, done)?;
        }
        done.push(name.to_owned());
    }
    seen.retain(|it| it != name);
    Ok(())
}

/// A module's name, from its file's name: to the kernel, `-` and `_` are the same.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (stem, rest) = file.split_once(".ko")?;
    ["", ".xz"].contains(&rest).then(|| stem.replace('-', "_"))
}

fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("can't read {}", folder.display()))?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|it| it == "xz") {
        return process::bytes_of(Command::new("xz").arg("-dc").arg("--").arg(path));
    }
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// A module's dependencies: the field `depends` of its section `.modinfo`.
fn needs(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module).context("it isn't an ELF file")?;
    let section = file.section_by_name(".modinfo").context("it has no .modinfo")?;
    Ok(depends(section.data().context("its .modinfo can't be read")?))
}

fn depends(modinfo: &[u8]) -> Vec<String> {
    let fields = modinfo.split(|byte| *byte == 0).filter_map(|it| std::str::from_utf8(it).ok());
    let lists = fields.filter_map(|field| field.strip_prefix("depends="));
    let names = lists.flat_map(|list| list.split(',')).filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(wanted: &[&str], table: &[(&str, Option<&[&str]>)]) -> Result<Vec<String>> {
        order(wanted, |name| {
            let found = table.iter().find(|(it, _)| *it == name).context("unknown")?.1;
            Ok(found.map(|list| list.iter().map(ToString::to_string).collect()))
        })
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let table: [(&str, Option<&[&str]>); 5] = [
            ("bridge", Some(&["stp", "llc"])),
            ("stp", Some(&["llc", "net"])),
            ("llc", Some(&[])),
            ("veth", Some(&[])),
            ("net", None),
        ];
        let found = order_of(&["veth", "bridge", "llc"], &table).unwrap();
        assert_eq!(found, ["veth", "llc", "stp", "bridge"]);
    }

    #[test]
    fn a_cycle_or_a_missing_module_is_an_error() {
        let cycle: [(&str, Option<&[&str]>); 2] = [("a", Some(&["b"])), ("b", Some(&["a"]))];
        assert!(order_of(&["a"], &cycle).unwrap_err().to_string().contains("depends on itself"));
        assert!(order_of(&["c"], &cycle).is_err());
    }

    #[test]
    fn names_are_read_from_files() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("kernel/net/sched/cls_bpf.ko").as_deref(), Some("cls_bpf"));
        assert_eq!(name("kernel/lib/crc-ccitt.ko.xz").as_deref(), Some("crc_ccitt"));
        assert_eq!(name("modules.order"), None);
        assert_eq!(name("x.ko.sig"), None);
    }

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let info = b"license=GPL\0depends=stp,crc-ccitt\0intree=Y\0";
        assert_eq!(depends(info), ["stp", "crc_ccitt"]);
        assert!(depends(b"depends=\0name=veth\0").is_empty());
        assert!(needs(b"not an object").is_err());
    }
}
