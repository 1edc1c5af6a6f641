//! The modules of a crate and the names that each one refers to, read from the source's tokens.
//!
//! Tokens are enough: paths inside of macro calls count too, and no name has to be type-checked.
//! Code under `#[cfg(test)]` and files in folders called `tests` are left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Items begin with one of these words and a name.
const DEFINITIONS: [&str; 9] =
    ["const", "enum", "fn", "macro", "static", "struct", "trait", "type", "union"];

/// One module, inline or a file of its own.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The index of the parent module; the root is its own.
    pub(super) parent: usize,
    /// The file that holds it.
    pub(super) file: PathBuf,
    /// Indexes of its child modules by name.
    pub(super) children: BTreeMap<String, usize>,
    /// Names that `use` brings into it, with their paths.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    /// Paths that `use` imports all names from.
    pub(super) globs: Vec<Vec<String>>,
    /// Names of its own items.
    pub(super) defined: Vec<String>,
    /// Paths in its code, those of `use` included.
    pub(super) references: Vec<Reference>,
}

/// A path of at least two names in the code.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
    /// Whether it is a `pub use`, of any visibility.
    pub(super) exported: bool,
}

/// Reads all modules of the crate whose root file is `file`; the first one is the root.
///
/// # Errors
/// A file is missing or isn't Rust.
pub(super) fn read(folder: &Path, file: &Path) -> Result<Vec<Module>> {
    let root = Module { file: file.to_path_buf(), ..Module::default() };
    let mut reader = Reader { folder, modules: vec![root] };
    let children = file.parent().unwrap_or(Path::new(""));
    reader.file(0, children)?;
    Ok(reader.modules)
}

struct Reader<'a> {
    folder: &'a Path,
    modules: Vec<Module>,
}

impl Reader<'_> {
    /// Reads the file of a module; files of child modules are in the folder `children`.
    fn file(&mut self, module: usize, children: &Path) -> Result<()> {
        let path = self.folder.join(&self.modules[module].file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        let tokens: TokenStream = text
            .parse()
            .map_err(|error| anyhow!("{} isn't valid Rust: {error}", path.display()))?;
        self.tokens(module, children, tokens)
    }

    fn tokens(&mut self, module: usize, children: &Path, tokens: TokenStream) -> Result<()> {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        let mut own_path = None;
        while let Some(rest) = tokens.get(at..).filter(|it| !it.is_empty()) {
            at += match rest {
                [hash, TokenTree::Group(group), ..] if is(hash, "#") => {
                    own_path = path_attribute(group).or(own_path);
                    if is_test(group) {
                        2 + item_length(&rest[2..])
                    } else {
                        self.tokens(module, children, group.stream())?;
                        2
                    }
                }
                [word, TokenTree::Ident(name), next, ..] if is(word, "mod") => {
                    self.child(module, children, &name.to_string(), next, own_path.take())?;
                    3
                }
                [word, ..] if is(word, "use") => {
                    let exported = at > 0 && is_visibility(&tokens[..at]);
                    let length = rest.iter().position(|it| is(it, ";")).unwrap_or(rest.len());
                    self.imports(module, Vec::new(), &rest[1..length], exported);
                    length
                }
                [TokenTree::Group(group), ..] => {
                    self.tokens(module, children, group.stream())?;
                    1
                }
                [TokenTree::Ident(word), ..] => {
                    if let Some(name) = definition(rest) {
                        self.modules[module].defined.push(name);
                    }
                    let (path, length) = path(rest);
                    // A method, or the end of a path that doesn't begin with a name.
                    let before = &tokens[..at];
                    let continues =
                        before.last().is_some_and(|it| is(it, ".")) || is_double(before);
                    if path.len() > 1 && !continues {
                        let line = word.span().start().line;
                        self.refer(module, path, line, false);
                    }
                    length
                }
                _ => 1,
            };
        }
        Ok(())
    }

    /// A child module: its body follows, or it is a file.
    fn child(
        &mut self,
        parent: usize,
        children: &Path,
        name: &str,
        next: &TokenTree,
        own_path: Option<String>,
    ) -> Result<()> {
        let index = self.modules.len();
        let mut module = Module { parent, ..Module::default() };
        let folder = children.join(name);
        if let TokenTree::Group(body) = next {
            module.file.clone_from(&self.modules[parent].file);
            self.modules.push(module);
            self.modules[parent].children.insert(name.to_owned(), index);
            return self.tokens(index, &folder, body.stream());
        }
        let single = children.join(format!("{name}.rs"));
        module.file = match own_path {
            Some(path) => self.modules[parent].file.with_file_name(path),
            None if self.folder.join(&single).exists() => single,
            None => folder.join("mod.rs"),
        };
        if module.file.components().any(|it| it.as_os_str() == "tests") {
            return Ok(());
        }
        self.modules.push(module);
        self.modules[parent].children.insert(name.to_owned(), index);
        self.file(index, &folder)
    }

    /// The paths of a `use`: `a::{b, c as d, e::*}`.
    fn imports(
        &mut self,
        module: usize,
        mut prefix: Vec<String>,
        tokens: &[TokenTree],
        exported: bool,
    ) {
        let mut line = 0;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    let name = tokens.get(at + 1).map(ToString::to_string).unwrap_or_default();
                    return self.import(module, name, prefix, line, exported);
                }
                TokenTree::Ident(word) => {
                    line = word.span().start().line;
                    // `a::{self}` is `a`.
                    if word != "self" || prefix.is_empty() {
                        prefix.push(word.to_string());
                    }
                }
                TokenTree::Group(group) => {
                    let parts: Vec<_> = group.stream().into_iter().collect();
                    for part in parts.split(|it| is(it, ",")).filter(|it| !it.is_empty()) {
                        self.imports(module, prefix.clone(), part, exported);
                    }
                    return;
                }
                star if is(star, "*") => {
                    self.modules[module].globs.push(prefix.clone());
                    prefix.push("*".to_owned());
                    return self.refer(module, prefix, line, exported);
                }
                _ => {}
            }
        }
        let name = prefix.last().cloned().unwrap_or_default();
        self.import(module, name, prefix, line, exported);
    }

    fn import(
        &mut self,
        module: usize,
        name: String,
        path: Vec<String>,
        line: usize,
        exported: bool,
    ) {
        self.modules[module].imports.insert(name, path.clone());
        self.refer(module, path, line, exported);
    }

    fn refer(&mut self, module: usize, path: Vec<String>, line: usize, exported: bool) {
        self.modules[module].references.push(Reference { path, line, exported });
    }
}

fn is(token: &TokenTree, text: &str) -> bool {
    match token {
        TokenTree::Ident(word) => word == text,
        TokenTree::Punct(sign) => text.len() == 1 && text.starts_with(sign.as_char()),
        _ => false,
    }
}

/// Whether the tokens end with `::`.
fn is_double(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [.., first, second] if is(first, ":") && is(second, ":"))
}

/// Whether the tokens end with `pub` or `pub(…)`.
fn is_visibility(tokens: &[TokenTree]) -> bool {
    match tokens {
        [.., word, TokenTree::Group(_)] | [.., word] => is(word, "pub"),
        [] => false,
    }
}

/// The name of the item that begins here, if one does.
fn definition(tokens: &[TokenTree]) -> Option<String> {
    match tokens {
        [word, TokenTree::Ident(name), ..] if DEFINITIONS.iter().any(|it| is(word, it)) => {
            Some(name.to_string())
        }
        [word, sign, TokenTree::Ident(name), ..] if is(word, "macro_rules") && is(sign, "!") => {
            Some(name.to_string())
        }
        _ => None,
    }
}

/// The path `a::b::c` that begins here, and its number of tokens.
fn path(tokens: &[TokenTree]) -> (Vec<String>, usize) {
    let mut names = Vec::new();
    let mut length = 0;
    while let Some(TokenTree::Ident(name)) = tokens.get(length) {
        names.push(name.to_string());
        length += 1;
        match tokens.get(length..) {
            Some([first, second, TokenTree::Ident(_), ..]) if is(first, ":") && is(second, ":") => {
                length += 2;
            }
            _ => break,
        }
    }
    (names, length)
}

/// Whether an attribute is `cfg(test)`.
fn is_test(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    attribute.delimiter() == Delimiter::Bracket && text == "cfg(test)"
}

/// The file that an attribute `path = "…"` names.
fn path_attribute(attribute: &Group) -> Option<String> {
    let text = attribute.stream().to_string();
    let value = text.strip_prefix("path")?.trim_start().strip_prefix('=')?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The number of tokens of the item that begins here: up to its semicolon or its body.
fn item_length(tokens: &[TokenTree]) -> usize {
    let is_import = tokens.iter().take(3).any(|it| is(it, "use"));
    let ends = |it: &TokenTree| {
        let is_body =
            matches!(it, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
        is(it, ";") || is_body && !is_import
    };
    tokens.iter().position(ends).map_or(tokens.len(), |it| it + 1)
}
