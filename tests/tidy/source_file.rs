//! The relevant contents of a source file: paths, functions, calls of `unwrap` and `expect`.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::Visit;

use crate::rooms::CRATES;

/// The contents of a file outside its tests.
#[derive(Default)]
pub struct SourceFile {
    /// Whether the file has an inner doc comment.
    pub has_doc: bool,
    /// All paths, with `crate::` and `super::` resolved: line and segments. A path that starts with `crate` names a
    /// room.
    pub paths: Vec<(usize, Vec<String>)>,
    /// Names that the module exports, each with the path of the exported item.
    pub exports: Vec<(String, Vec<String>)>,
    /// Line, name, and number of lines from signature to closing brace.
    pub functions: Vec<(usize, String, usize)>,
    /// Lines with `.unwrap()`.
    pub unwraps: Vec<usize>,
    /// Lines with `.expect(…)` whose text is empty.
    pub mute_expects: Vec<usize>,
    /// Number of lines of inline test modules and test functions.
    pub test_lines: usize,
    /// Test-only modules in separate files.
    pub test_modules: Vec<String>,
    module: Vec<String>,
}

impl SourceFile {
    /// Reads a file; `module` is its path from its room, `["deliver", "lane"]`.
    pub fn read(module: &[String], text: &str) -> syn::Result<Self> {
        let file = syn::parse_file(text)?;
        let has_doc = file.attrs.iter().any(|attribute| attribute.path().is_ident("doc"));
        let mut source = SourceFile { has_doc, module: module.to_vec(), ..SourceFile::default() };
        source.visit_file(&file);
        Ok(source)
    }

    fn name(&mut self, span: Span, segments: Vec<String>) {
        self.paths.push((span.start().line, self.rooted(segments)));
    }

    fn rooted(&self, segments: Vec<String>) -> Vec<String> {
        let (first, rest) = segments.split_first().expect("a path has a segment");
        match first.as_str() {
            "crate" => [&["crate".to_owned()], self.root(), rest].concat(),
            "outhook" => [&["crate".to_owned()], rest].concat(),
            name if CRATES.contains(&name) => [&["crate".to_owned()], segments.as_slice()].concat(),
            "self" => [&["crate".to_owned()], self.module.as_slice(), rest].concat(),
            "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let above = &self.module[..self.module.len().saturating_sub(ups)];
                [&["crate".to_owned()], above, &segments[ups..]].concat()
            }
            _ => segments,
        }
    }

    /// The module of the file's crate root: empty in the main crate.
    fn root(&self) -> &[String] {
        let is_crate = self.module.first().is_some_and(|room| CRATES.contains(&room.as_str()));
        &self.module[..usize::from(is_crate)]
    }

    fn use_tree(&mut self, tree: &syn::UseTree, mut before: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.use_tree(&path.tree, before);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.use_tree(item, before.clone())),
            syn::UseTree::Name(syn::UseName { ident }) | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                // `use hyper::{self}` names hyper. `use self::x` keeps its `self`.
                if ident != "self" || before.is_empty() {
                    before.push(ident.to_string());
                }
                self.name(ident.span(), before);
            }
            syn::UseTree::Glob(glob) => self.name(glob.span(), before),
        }
    }

    /// Collects the names of a `pub use`, with their paths.
    fn exported(&mut self, tree: &syn::UseTree, mut before: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.exported(&path.tree, before);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.exported(item, before.clone())),
            syn::UseTree::Name(name) if name.ident == "self" => {}
            syn::UseTree::Name(syn::UseName { ident }) => {
                before.push(ident.to_string());
                let path = self.rooted(before);
                self.exports.push((ident.to_string(), path));
            }
            syn::UseTree::Rename(syn::UseRename { ident, rename, .. }) => {
                before.push(ident.to_string());
                let path = self.rooted(before);
                self.exports.push((rename.to_string(), path));
            }
            syn::UseTree::Glob(_) => {}
        }
    }

    /// The arguments of a macro are only tokens, not a syntax tree.
    fn macro_tokens(&mut self, tokens: &TokenStream) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let ident = |at: usize| match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
            _ => None,
        };
        let punct = |at: usize, wanted: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
        for (at, token) in tokens.iter().enumerate() {
            if let TokenTree::Group(group) = token {
                self.macro_tokens(&group.stream());
            }
            let in_path = at >= 1 && punct(at - 1, ':');
            if let (Some(first), false) = (ident(at), in_path) {
                let mut segments = vec![first];
                let mut next = at + 1;
                while let (true, true, Some(segment)) = (punct(next, ':'), punct(next + 1, ':'), ident(next + 2)) {
                    segments.push(segment);
                    next += 3;
                }
                if segments.len() > 1 {
                    self.name(token.span(), segments);
                }
            }
            if at >= 1 && punct(at - 1, '.') && ident(at).as_deref() == Some("unwrap") {
                self.unwraps.push(token.span().start().line);
            }
        }
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let start = signature.span().start().line;
        let lines = block.span().end().line + 1 - start;
        self.functions.push((start, signature.ident.to_string(), lines));
    }

    /// Whether the attributes of an item mark it as a test. If so, excludes its lines.
    fn is_test(&mut self, attributes: &[syn::Attribute], span: Span) -> bool {
        let test = attributes.iter().any(|attribute| match &attribute.meta {
            syn::Meta::Path(path) => path.segments.last().is_some_and(|segment| segment.ident == "test"),
            syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
            syn::Meta::NameValue(_) => false,
        });
        if test {
            self.test_lines += span.end().line + 1 - span.start().line;
        }
        test
    }
}

impl<'ast> Visit<'ast> for SourceFile {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if self.is_test(&item.attrs, item.span()) {
            if item.content.is_none() {
                self.test_modules.push(item.ident.to_string());
            }
            return;
        }
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !self.is_test(&item.attrs, item.span()) {
            self.function(&item.sig, &item.block);
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.is_test(&item.attrs, item.span()) {
            self.function(&item.sig, &item.block);
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !self.is_test(&item.attrs, item.span()) {
            syn::visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if self.is_test(&item.attrs, item.span()) {
            return;
        }
        self.use_tree(&item.tree, Vec::new());
        if !matches!(item.vis, syn::Visibility::Inherited) {
            self.exported(&item.tree, Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.name(path.span(), segments);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.macro_tokens(&called.tokens);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let line = call.method.span().start().line;
        let mute = |argument: &syn::Expr| match argument {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => text.value().trim().is_empty(),
            _ => false,
        };
        match (call.method.to_string().as_str(), call.args.first()) {
            ("unwrap", None) => self.unwraps.push(line),
            ("expect", Some(argument)) if mute(argument) => self.mute_expects.push(line),
            _ => {}
        }
        syn::visit::visit_expr_method_call(self, call);
    }
}
