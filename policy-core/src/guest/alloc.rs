//! The allocator of a component that lives for one call: it moves a pointer up, and back to where
//! the call began once everything of the call is freed. Less code and fewer touched pages than a
//! general one, so a fresh instance costs less.
#![allow(unsafe_code, reason = "an allocator is unsafe by its interface")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;

#[global_allocator]
static ARENA: Arena = Arena(UnsafeCell::new(State { base: 0, next: 0, end: 0, live: 0 }));

struct Arena(UnsafeCell<State>);

struct State {
    /// Below it lies what `configure` left behind.
    base: usize,
    next: usize,
    end: usize,
    /// Blocks above `base` that are not freed yet.
    live: usize,
}

// SAFETY: wasm32-unknown-unknown has one thread.
unsafe impl Sync for Arena {}

const PAGE: usize = 65_536;

// SAFETY: blocks come from `next` upwards and never overlap; `next` falls only to the start of
// the last block, or to `base` when no block above it lives.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let state = unsafe { &mut *self.0.get() };
        if state.end == 0 {
            unsafe extern "C" {
                static __heap_base: u8;
            }
            state.next = (&raw const __heap_base).addr();
            state.base = state.next;
            state.end = core::arch::wasm32::memory_size(0).saturating_mul(PAGE);
        }
        let start = state.next.next_multiple_of(layout.align());
        let Some(next) = start.checked_add(layout.size()) else {
            return core::ptr::null_mut();
        };
        if next > state.end {
            let pages = next.saturating_sub(state.end).div_ceil(PAGE);
            if core::arch::wasm32::memory_grow(0, pages) == usize::MAX {
                return core::ptr::null_mut();
            }
            state.end = state.end.saturating_add(pages.saturating_mul(PAGE));
        }
        state.next = next;
        state.live = state.live.saturating_add(1);
        core::ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let state = unsafe { &mut *self.0.get() };
        let start = block.addr();
        if start < state.base {
            return;
        }
        state.live = state.live.saturating_sub(1);
        if state.live == 0 {
            state.next = state.base;
        } else if start.saturating_add(layout.size()) == state.next {
            state.next = start;
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let state = unsafe { &mut *self.0.get() };
        let start = block.addr();
        let last = start.saturating_add(layout.size()) == state.next;
        if last && start.checked_add(size).is_some_and(|next| next <= state.end) {
            state.next = start.saturating_add(size);
            return block;
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
            return core::ptr::null_mut();
        };
        // SAFETY: two blocks of this arena, each at least as long as what is copied.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Keeps all that lives now for as long as the instance does.
pub fn keep() {
    // SAFETY: one thread, and nothing of the arena is borrowed here.
    let state = unsafe { &mut *ARENA.0.get() };
    state.base = state.next;
    state.live = 0;
}
