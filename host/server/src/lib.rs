//! The program `tollgate`: decides, prices and stops the spending of AI agents.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]
// The outermost layer: here the clock is read.
#![allow(clippy::disallowed_methods)]

mod access;
mod acts;
mod audit;
mod components;
mod configuration;
mod disable;
mod doctor;
mod erase;
mod hosts;
mod monitor;
mod notices;
mod period;
mod policies;
mod policy;
mod replay;
mod serve;
mod simulate;
mod stores;
mod surroundings;
mod token;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Decides, prices and stops the spending of AI agents.
#[derive(Parser)]
#[command(name = "tollgate", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serves the API over HTTP: orchestrators ask before each run, and report after it
    Serve(serve::Arguments),
    /// Looks at all that the service needs: database, clock, cache, policies, limits
    Doctor(doctor::Arguments),
    /// Makes, lists and revokes tokens, by which callers of the service are known
    #[command(subcommand)]
    Token(token::Verb),
    /// Prints what was done to the platform and its tenants: who, what, before and after, a line of JSON each
    Audit(audit::Arguments),
    /// Prices and judges a trace of calls as if they were made now, by the trace's own clock
    Simulate(simulate::Arguments),
    /// Recomputes counters, holds and balances from what happened, and prints what differs
    Verify(verify::Arguments),
    /// Judges recorded decisions again: by the same policies, which shows that nothing differs, or with
    /// another one among them, which shows whom it would hit
    Replay(replay::Arguments),
    /// Erases a person's name, or another value, from all that is kept: a pseudonym takes its place
    Erase(erase::Arguments),
    /// Has an agent, a user, … not go on: whatever it asks for is denied
    Disable(disable::Disable),
    /// Lets an agent, a user, … go on again
    Enable(disable::Enable),
    /// Has alerting policies look at all whom they count, as a service does every hour
    Monitor(monitor::Arguments),
    /// Lists and acknowledges what people were told, and sees to what was not delivered
    #[command(subcommand)]
    Notices(notices::Verb),
    /// Looks at policy components, and says which policies are bound
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Compiles one component from stdin to stdout; started by `tollgate` itself
    #[command(name = components::WORKER, hide = true)]
    Worker,
}

/// The whole program: reads its arguments, and ends with a code that tells whether all went well.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => return failed(&error),
    };
    let done = match arguments.verb {
        Verb::Serve(arguments) if arguments.print_config => {
            print!("{}", configuration::document(&Arguments::command(), "serve"));
            return ExitCode::SUCCESS;
        }
        Verb::Serve(arguments) => serve::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Doctor(arguments) => doctor::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Audit(audit) => audit::run(&audit).map(|()| ExitCode::SUCCESS),
        Verb::Token(verb) => token::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Simulate(arguments) => simulate::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Replay(arguments) => replay::run(&arguments),
        Verb::Erase(arguments) => erase::run(&arguments),
        Verb::Disable(arguments) => disable::disable(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Enable(arguments) => disable::enable(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Monitor(arguments) => monitor::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Notices(verb) => notices::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Policy(verb) => policy::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Worker => return tollgate_host::sandbox::worker_main(),
    };
    done.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// What the program is told: by flags, the environment, and the file that `serve` and `doctor` may be given.
fn arguments() -> anyhow::Result<Arguments> {
    let arguments = Arguments::parse();
    let (verb, config) = match &arguments.verb {
        Verb::Serve(serve) => ("serve", &serve.config),
        Verb::Doctor(doctor) => ("doctor", doctor.config()),
        _ => return Ok(arguments),
    };
    let Some(file) = config else { return Ok(arguments) };
    let command = configuration::with_file(Arguments::command(), verb, file)?;
    Ok(Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit()))
}
