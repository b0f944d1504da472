//! Benchmarks beside the alternatives, kept apart since those take longer to build than Tollgate.
