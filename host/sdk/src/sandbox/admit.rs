//! Letting a component in: everything that is checked before it may serve. Runs where it can do
//! no harm, in the process of [`super::compile`].

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{Manifest, Observation, Reading, Request, Task, Usage};
use wasmparser::{ComponentName, KnownCustom, Parser, Payload};
use wasmtime::component::{Component, Instance};
use wasmtime::{Engine, OptLevel, Store};

use super::ability::{Ability, POLICY};
use super::engine::{self, Instances};
use super::fault::{Fault, first_line};
use super::freeze::Freezable;
use super::guest::Guest;
use super::limits::Limits;
use super::policy::Policy;
use super::refusal::Refused;
use super::runtime::Runtime;
use super::schema;
use super::wasi;
use super::wire::types as wire;

/// What is known of a component that was let in with certain settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// From its metadata.
    pub name: Option<String>,
    /// From its metadata.
    pub version: Option<String>,
    /// What it can do.
    pub abilities: Vec<Ability>,
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// The interfaces it exports.
    pub exports: Vec<String>,
    /// What it asks for with these settings.
    pub manifest: Manifest,
    /// The settings' JSON Schema.
    pub settings_schema: String,
    /// Whether calls start from the configured state, or configure anew.
    pub frozen: bool,
    /// Its size.
    pub component_bytes: usize,
    /// What admission took.
    pub compile_ms: u64,
}

impl Admitted {
    /// Whether it runs with the deterministic WASI.
    #[must_use]
    pub fn imports_wasi(&self) -> bool {
        self.imports.iter().any(|name| name.starts_with("wasi:"))
    }
}

/// So many reasons of a kind are told.
const TOLD_MAX: usize = 10;

/// Admits a component with settings; the second part is its compiled code.
pub fn admit(
    component: &[u8],
    settings: &str,
    limits: Limits,
    instances: Instances,
) -> Result<(Admitted, Vec<u8>), Refused> {
    #[expect(clippy::disallowed_methods, reason = "measures itself, and decides nothing by it")]
    let start = Instant::now();
    precheck(component, &limits)?;
    let scratch = scratch_runtime(limits).map_err(host)?;
    let instrumented = Freezable::new(component).and_then(|(freezable, instrumented)| {
        Some((freezable, Component::new(&scratch.engine, instrumented).ok()?))
    });
    let (freezable, compiled) = match instrumented {
        Some((freezable, compiled)) => (Some(freezable), compiled),
        None => (None, compile(&scratch.engine, component)?),
    };
    let (imports, exports) = interfaces(&compiled, &scratch.engine);
    let abilities = check_interfaces(&imports, &exports)?;

    let wasi = imports.iter().any(|name| name.starts_with("wasi:"));
    // In an instance of its own, since what it leaves behind must not be frozen.
    let (mut store, instance) = instantiate(&scratch, &compiled, wasi)?;
    check_types(&mut store, instance, &abilities)?;
    let settings_schema = ask_schema(&mut store, instance)?;
    schema::check(&settings_schema, settings)?;
    let (mut store, instance) = instantiate(&scratch, &compiled, wasi)?;
    let manifest = configure(&mut store, instance, settings)?;
    check_manifest(&manifest, &limits)?;

    let runtime = Runtime::new(limits, instances).map_err(host)?;
    let frozen = freezable
        .and_then(|freezable| {
            // Reading out the memory must not count as the guest's output.
            store.set_hostcall_fuel(usize::MAX >> 1);
            store.set_fuel(u64::MAX).ok()?;
            store.set_epoch_deadline(u64::MAX >> 1);
            freezable.freeze(&mut store, instance)
        })
        // What fills its memory as it is configured does so in each call.
        .filter(|frozen| frozen.len() <= limits.component_bytes)
        .and_then(|frozen| Component::new(&runtime.engine, frozen).ok());
    let is_frozen = frozen.is_some();
    let compiled = match frozen {
        Some(frozen) => frozen,
        None => compile(&runtime.engine, component)?,
    };
    let (name, version) = metadata(component);
    let admitted = Admitted {
        digest: super::digest(component),
        name,
        version,
        abilities,
        imports,
        exports,
        manifest,
        settings_schema,
        frozen: is_frozen,
        component_bytes: component.len(),
        compile_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    try_out(&Policy::new(runtime, &compiled, admitted.clone(), settings.to_owned())?)?;
    let code = compiled.serialize().map_err(host)?;
    if code.len() > limits.code_bytes {
        let (bytes, bytes_max) = (code.len(), limits.code_bytes);
        return Err(Refused::CodeTooLarge { bytes, bytes_max });
    }
    Ok((admitted, code))
}

/// What can be told without compiling.
pub fn precheck(component: &[u8], limits: &Limits) -> Result<(), Refused> {
    if component.len() > limits.component_bytes {
        let (bytes, bytes_max) = (component.len(), limits.component_bytes);
        return Err(Refused::TooLarge { bytes, bytes_max });
    }
    if Engine::detect_precompiled(component).is_some() {
        return Err(Refused::Precompiled);
    }
    match component.first_chunk() {
        Some(b"\0asm\x01\0\0\0") => Err(Refused::CoreModule),
        Some([b'\0', b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        _ => Err(Refused::NotWasm),
    }
}

fn compile(engine: &Engine, component: &[u8]) -> Result<Component, Refused> {
    Component::new(engine, component)
        .map_err(|error| Refused::Invalid(first_line(&format!("{error:#}"))))
}

fn host(error: impl std::fmt::Display) -> Refused {
    Refused::Host(format!("{error:#}"))
}

/// To configure in: quick to compile, since its code runs once.
fn scratch_runtime(limits: Limits) -> wasmtime::Result<Arc<Runtime>> {
    let mut config = engine::config(&limits, Instances::OnDemand);
    config.cranelift_opt_level(OptLevel::None);
    let engine = Engine::new(&config)?;
    engine::tick(&engine)?;
    Runtime::with_engine(engine, limits, Instances::OnDemand)
}

fn interfaces(component: &Component, engine: &Engine) -> (Vec<String>, Vec<String>) {
    let ty = component.component_type();
    let imports = ty.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let exports = ty
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.starts_with("wasmtime:wizer/"))
        .collect();
    (imports, exports)
}

fn is_offered(import: &str) -> bool {
    ["wasi:", "tollgate:policy/types@"].iter().any(|offered| import.starts_with(offered))
}

/// `0.1.x` are compatible among themselves, as the linker sees it.
fn same_interface(export: &str, interface: &str) -> bool {
    let (Some((export, found)), Some((interface, _))) =
        (export.split_once('@'), interface.split_once('@'))
    else {
        return false;
    };
    export == interface && found.starts_with("0.1.") && !found.contains('-')
}

fn check_interfaces(imports: &[String], exports: &[String]) -> Result<Vec<Ability>, Refused> {
    let foreign = imports.iter().filter(|import| !is_offered(import)).take(TOLD_MAX);
    let mut reasons: Vec<_> = foreign.map(|own| Refused::Import(first_line(own))).collect();
    let abilities = abilities(exports).map_err(|reason| reasons.push(reason));
    Refused::all(reasons)?;
    // Had it failed, there would be a reason.
    Ok(abilities.unwrap_or_default())
}

fn abilities(exports: &[String]) -> Result<Vec<Ability>, Refused> {
    let has = |interface: &str| exports.iter().any(|export| same_interface(export, interface));
    if !has(POLICY) {
        let found = match exports {
            [] => "nothing".into(),
            exports => first_line(&format!("`{}`", exports.join("`, `"))),
        };
        return Err(Refused::NoPolicy { expected: POLICY.into(), found });
    }
    let abilities: Vec<Ability> =
        Ability::ALL.into_iter().filter(|ability| has(ability.export().0)).collect();
    if abilities.is_empty() { Err(Refused::NoAbility) } else { Ok(abilities) }
}

fn instantiate(
    runtime: &Runtime,
    component: &Component,
    wasi: bool,
) -> Result<(Store<Guest>, Instance), Refused> {
    let limits = &runtime.limits;
    let instance_pre = runtime
        .link(component, wasi)
        .map_err(|error| Refused::Import(first_line(&format!("{error:#}"))))?;
    // What is configured must not depend on when that happens.
    let wasi = wasi.then(|| wasi::frozen(limits, 0, &[]));
    let mut store = Guest::store(&runtime.engine, limits, limits.configure_fuel, wasi);
    store.set_epoch_deadline(limits.compile_seconds.saturating_mul(1_000) / engine::EPOCH_MS);
    let instance = instance_pre.instantiate(&mut store).map_err(|error| {
        // What is no trap of its start function is a component of too many parts.
        let trapped = error.is::<wasmtime::Trap>() || store.data().memory_denied();
        if trapped {
            Refused::Configure(Fault::of_instantiation(&error, store.data()))
        } else {
            Refused::Invalid(first_line(&format!("{error:#}")))
        }
    })?;
    Ok((store, instance))
}

/// Finding an export compares names only; loading it compares types.
fn check_types(
    store: &mut Store<Guest>,
    instance: Instance,
    abilities: &[Ability],
) -> Result<(), Refused> {
    type Configured = (Result<wire::Manifest, String>,);
    type Priced = (Result<wire::Quote, wire::Refusal>,);
    type Estimated = (Result<Vec<wire::Quantity>, String>,);
    let mut reasons = Vec::new();
    let configure = load::<(String,), Configured>(store, instance, POLICY, "configure");
    reasons.extend(configure.err());
    reasons.extend(load::<(), (String,)>(store, instance, POLICY, "settings-schema").err());
    for ability in abilities {
        let (interface, function) = ability.export();
        reasons.extend(match ability {
            Ability::Quota => {
                load::<(wire::Request,), (wire::Verdict,)>(store, instance, interface, function)
                    .err()
            }
            Ability::Pricing => {
                load::<(wire::Usage,), Priced>(store, instance, interface, function).err()
            }
            Ability::Alerting => load::<(wire::Observation,), (Vec<wire::Action>,)>(
                store, instance, interface, function,
            )
            .err(),
            Ability::Estimation => {
                load::<(wire::Task,), Estimated>(store, instance, interface, function).err()
            }
        });
    }
    Refused::all(reasons)
}

fn load<P, R>(
    store: &mut Store<Guest>,
    instance: Instance,
    interface: &str,
    function: &str,
) -> Result<wasmtime::component::TypedFunc<P, R>, Refused>
where
    P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
    R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
{
    let wrong = |reason: String| Refused::WrongType {
        export: format!("{interface}.{function}"),
        reason: first_line(&reason),
    };
    let index = instance
        .get_export_index(&mut *store, None, interface)
        .and_then(|interface| instance.get_export_index(&mut *store, Some(&interface), function))
        .ok_or_else(|| wrong("the function is missing".into()))?;
    instance.get_typed_func::<P, R>(&mut *store, index).map_err(|error| wrong(format!("{error:#}")))
}

fn ask_schema(store: &mut Store<Guest>, instance: Instance) -> Result<String, Refused> {
    let schema = load::<(), (String,)>(store, instance, POLICY, "settings-schema")?;
    match schema.call(&mut *store, ()) {
        Ok((schema,)) => Ok(schema),
        Err(error) => Err(Refused::Configure(Fault::of_call(&error, store.data()))),
    }
}

fn configure(
    store: &mut Store<Guest>,
    instance: Instance,
    settings: &str,
) -> Result<Manifest, Refused> {
    type Configured = (Result<wire::Manifest, String>,);
    let configure = load::<(&str,), Configured>(store, instance, POLICY, "configure")?;
    let (manifest,) = configure
        .call(&mut *store, (settings,))
        .map_err(|error| Refused::Configure(Fault::of_call(&error, store.data())))?;
    let manifest = manifest.map_err(|words| Refused::Settings(first_line(&words)))?;
    Manifest::try_from(manifest).map_err(|words| Refused::Manifest(first_line(&words)))
}

fn check_manifest(manifest: &Manifest, limits: &Limits) -> Result<(), Refused> {
    let mut wrong = Vec::new();
    let (count, count_max) = (manifest.counters.len(), limits.counters);
    if count > count_max {
        wrong.push(format!("{count} counters, and at most {count_max} are kept: declare fewer"));
    }
    let entries_max = limits.manifest_entries;
    for (what, count) in [("names to read", manifest.reads.len()), ("facts", manifest.about.len())]
    {
        if count > entries_max {
            wrong.push(format!("{count} {what}, and at most {entries_max} are kept"));
        }
    }
    for counter in &manifest.counters {
        let (meter, dimensions) = (&counter.meter, counter.per.len());
        if dimensions > limits.counter_dimensions {
            let kept = limits.counter_dimensions;
            wrong.push(format!(
                "the counter of `{meter}` has {dimensions} dimensions, and at most {kept} are kept"
            ));
        }
        if counter.per.iter().any(|name| name.is_empty() || name.len() > 64) {
            wrong.push(format!("the counter of `{meter}` has a dimension without a proper name"));
        }
        if counter.limit.is_some_and(|limit| limit.is_negative()) {
            wrong.push(format!("the counter of `{meter}` has a limit below zero"));
        }
    }
    Refused::all(wrong.into_iter().take(TOLD_MAX).map(Refused::Manifest).collect())
}

/// A call of each ability with nothing in it: a policy that fails on that would fail in service.
fn try_out(policy: &Policy) -> Result<(), Refused> {
    let readings = vec![Reading::default(); policy.manifest().counters.len()];
    let mut reasons = Vec::new();
    for ability in policy.admitted().abilities.clone() {
        let readings = readings.clone();
        let fault = match ability {
            Ability::Quota => {
                policy.check(Request { readings, ..Request::default() }).outcome.err()
            }
            Ability::Pricing => policy.price(Usage { readings, ..Usage::default() }).outcome.err(),
            Ability::Alerting => {
                let occasion = "settled".into();
                let observation = Observation { readings, occasion, ..Observation::default() };
                policy.review(observation).outcome.err()
            }
            Ability::Estimation => policy.estimate(0, Task::default()).outcome.err(),
        };
        let ability = ability.name().into();
        reasons.extend(fault.map(|fault| Refused::Trial { ability, fault }));
    }
    Refused::all(reasons)
}

/// Name and version as the standard component metadata has them.
fn metadata(component: &[u8]) -> (Option<String>, Option<String>) {
    let (mut name, mut version) = (None, None);
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::Version { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::CustomSection(section)) if depth == 1 => match section.as_known() {
                KnownCustom::ComponentName(names) => {
                    for subsection in names.into_iter().flatten() {
                        if let ComponentName::Component { name: found, .. } = subsection {
                            name = Some(first_line(found));
                        }
                    }
                }
                _ if section.name() == "version" => {
                    version = Some(first_line(&String::from_utf8_lossy(section.data())));
                }
                _ => {}
            },
            Ok(_) => {}
            Err(_) => break,
        }
    }
    (name, version)
}
