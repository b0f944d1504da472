//! Policies as components, made from one text of which a test replaces a part.

use std::fmt::Write;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract as every author has it.
pub const CONTRACT: &str = include_str!("../../../wit/policy.wit");

const TEXT: &str = include_str!("guest.wat");

/// What a test replaces of the healthy policy in `guest.wat`; WAT, unless said otherwise.
pub struct Guest<'a> {
    pub imports: &'a str,
    /// The pages of its memory: the least, and the most where there is one.
    pub pages: &'a str,
    pub fields: &'a str,
    /// Bytes that lie ready for `$put`.
    pub text: &'a [u8],
    pub realloc: &'a str,
    pub configure: &'a str,
    pub schema: &'a str,
    pub check: &'a str,
    pub post: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            pages: "2",
            fields: "",
            text: b"",
            realloc: "",
            configure: "",
            schema: "",
            check: "",
            post: "",
        }
    }
}

impl Guest<'_> {
    /// Its core module, in words.
    pub fn module(&self) -> String {
        let Self { imports, pages, fields, text, realloc, configure, schema, check, post } = self;
        let bytes: String = text.iter().map(|byte| format!("\\{byte:02x}")).collect();
        TEXT.replace("{imports}", imports)
            .replace("{pages}", pages)
            .replace("{fields}", fields)
            .replace("{text}", &bytes)
            .replace("{length}", &text.len().to_string())
            .replace("{realloc}", realloc)
            .replace("{configure}", configure)
            .replace("{schema}", schema)
            .replace("{check}", check)
            .replace("{post}", post)
    }

    /// The component around it.
    pub fn component(&self) -> Vec<u8> {
        encode(&self.module(), CONTRACT, "quota-policy")
    }
}

/// WAT that runs in service only: the trial call of admission comes at instant zero.
pub fn later(body: &str) -> String {
    format!("(if (i64.ne (global.get $now) (i64.const 0)) (then {body}))")
}

/// A core module as a component of a world in a WIT package.
pub fn encode(module: &str, contract: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).expect("the module's text");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", contract).expect("the contract");
    let world = resolve.select_world(&[package], Some(world)).expect("the world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the component's type");
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .unwrap_or_else(|error| panic!("the module is none of that world: {error:#}"))
}

/// A section of a binary: its number, its length and its contents.
pub fn section(id: u8, contents: &[u8]) -> Vec<u8> {
    [&[id], &leb(contents.len())[..], contents].concat()
}

/// A number as binaries have it (LEB128).
pub fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push((number % 128) as u8 | 128);
        number /= 128;
    }
    bytes.push(number as u8);
    bytes
}

/// The healthy policy with so many more core modules in it, each instantiated once.
pub fn with_modules(module: &str, count: usize) -> Vec<u8> {
    let module = wat::parse_str(module).expect("the module's text");
    let mut component = Guest::default().component();
    for index in 1..=count {
        component.extend(section(1, &module));
        // One instance, of that module, without arguments.
        component.extend(section(2, &[&[1, 0], &leb(index)[..], &[0]].concat()));
    }
    component
}

/// A component of a few kilobytes that a compiler chews on for minutes: in each of many loops,
/// every one of many locals may be the one of before or a new one.
pub fn bomb(loops: usize, locals: usize) -> Vec<u8> {
    let mut fields = format!("(func $bomb (param i32) (local{})", " i64".repeat(locals));
    for depth in 0..loops {
        let local = depth % locals + 1;
        write!(
            fields,
            "(loop (local.set {local} (i64.add (local.get {local}) (i64.const {depth})))"
        )
        .expect("text");
    }
    for depth in 0..loops {
        let local = depth * 7 % locals + 1;
        write!(fields, "(br_if 0 (i64.eqz (local.get {local}))))").expect("text");
    }
    fields.push(')');
    Guest { fields: &fields, ..Guest::default() }.component()
}
