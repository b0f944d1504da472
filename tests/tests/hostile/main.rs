//! Hostile policies: whatever a component does, it is refused or faults in a way that has a name,
//! and the host and the policies beside it go on.

mod admission;
mod answers;
mod bytes;
mod compiling;
mod freezing;
mod guest;
mod house;
mod serving;
mod spending;
mod state;
mod traps;
