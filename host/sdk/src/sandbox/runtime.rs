//! Where policies run: the engine, what guests are linked against, and how many at a time.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use super::engine::{self, Instances};
use super::guest::{Guest, Permits};
use super::limits::Limits;
use super::wasi;

pub struct Runtime {
    pub engine: Engine,
    pub limits: Limits,
    pub instances: Instances,
    pub permits: Arc<Permits>,
    /// For guests that import nothing: an instance that could not ask is the cheaper one.
    bare: Linker<Guest>,
    with_wasi: Linker<Guest>,
}

impl Runtime {
    pub fn new(limits: Limits, instances: Instances) -> wasmtime::Result<Arc<Self>> {
        let (engine, instances) = engine::engine(&limits, instances)?;
        engine::tick(&engine)?;
        Self::with_engine(engine, limits, instances)
    }

    pub fn with_engine(
        engine: Engine,
        limits: Limits,
        instances: Instances,
    ) -> wasmtime::Result<Arc<Self>> {
        let permits = match instances {
            Instances::Pooled(count) => usize::try_from(count)?,
            Instances::OnDemand => 64,
        };
        let bare = Linker::new(&engine);
        let mut with_wasi = Linker::new(&engine);
        wasi::add_to_linker(&mut with_wasi)?;
        let permits = Permits::new(permits);
        Ok(Arc::new(Self { engine, limits, instances, permits, bare, with_wasi }))
    }

    pub fn link(&self, component: &Component, wasi: bool) -> wasmtime::Result<InstancePre<Guest>> {
        if wasi {
            self.with_wasi.instantiate_pre(component)
        } else {
            self.bare.instantiate_pre(component)
        }
    }
}
