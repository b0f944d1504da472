//! Freezing a configured instance: a component that starts where `configure` ended.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Instance, Lift, WasmList};
use wasmtime_wizer::{ComponentContext, ComponentInstanceState, Wizer};

use super::guest::Guest;

/// A component that can be frozen, with what is needed to look into it.
pub struct Freezable<'a> {
    wizer: Wizer,
    context: ComponentContext<'a>,
}

impl<'a> Freezable<'a> {
    /// Instruments a component; none where its structure cannot be frozen, such as components
    /// nested in it: it is configured in each call then.
    pub fn new(component: &'a [u8]) -> Option<(Self, Vec<u8>)> {
        let mut wizer = Wizer::new();
        wizer.keep_init_func(true);
        let (context, instrumented) =
            catching(|| wizer.instrument_component(component).ok()).flatten()?;
        Some((Self { wizer, context }, instrumented))
    }

    /// The component in the state of this instance of its instrumented form; none where its
    /// state cannot be read out.
    pub fn freeze(self, store: &mut Store<Guest>, instance: Instance) -> Option<Vec<u8>> {
        let mut state = State { store, instance };
        catching(|| run(self.wizer.snapshot_component(&self.context, &mut state)).ok()).flatten()
    }
}

/// The freezer panics on some of what it cannot freeze, and what it calls can trap without a way
/// to say so. Nothing that it holds is used again after that.
fn catching<R>(freeze: impl FnOnce() -> R) -> Option<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(freeze)).ok()
}

struct State<'a> {
    store: &'a mut Store<Guest>,
    instance: Instance,
}

impl State<'_> {
    fn call<R, R2>(
        &mut self,
        interface: &str,
        function: &str,
        then: impl FnOnce(&Store<Guest>, R) -> R2,
    ) -> R2
    where
        R: Lift + 'static,
        (R,): ComponentNamedList + Lift,
    {
        // The trait leaves no way to say that a call failed but a panic, which is caught.
        let (_, interface) = self
            .instance
            .get_export(&mut *self.store, None, interface)
            .expect("the accessors' instance");
        let (_, function) = self
            .instance
            .get_export(&mut *self.store, Some(&interface), function)
            .expect("the accessor");
        let function = self
            .instance
            .get_typed_func::<(), (R,)>(&mut *self.store, function)
            .expect("the accessor's type");
        let (value,) = function.call(&mut *self.store, ()).expect("accessors do not trap");
        then(self.store, value)
    }
}

impl ComponentInstanceState for State<'_> {
    async fn call_func_ret_list_u8(
        &mut self,
        interface: &str,
        function: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        self.call(interface, function, |store, list: WasmList<u8>| {
            contents(list.as_le_slice(store))
        });
    }

    async fn call_func_ret_s32(&mut self, interface: &str, function: &str) -> i32 {
        self.call(interface, function, |_, value| value)
    }

    async fn call_func_ret_s64(&mut self, interface: &str, function: &str) -> i64 {
        self.call(interface, function, |_, value| value)
    }

    async fn call_func_ret_f32(&mut self, interface: &str, function: &str) -> u32 {
        self.call(interface, function, |_, value: f32| value.to_bits())
    }

    async fn call_func_ret_f64(&mut self, interface: &str, function: &str) -> u64 {
        self.call(interface, function, |_, value: f64| value.to_bits())
    }
}

/// Runs a future none of whose steps waits.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
