//! The engines of wasmtime that code runs in, each with what it offers to guests.
//!
//! | code of | components of WASI 0.2 | those that use the asynchronous part of the component model |
//! | --- | --- | --- |
//! | Cranelift | made at the start | made when needed |
//! | Winch, the baseline compiler | made when needed | made when needed |
//!
//! An engine that supports concurrency keeps account of the tasks in each store, whether a guest has
//! any or not: that made a call of a small 0.2 guest take a fifth more instructions. And the compilers
//! call functions in different ways. All engines have the same settings otherwise, the same ticker, and
//! one number of instances together ([`super::limits::Room`]).

use std::sync::OnceLock;

use wasmtime::component::Linker;
use wasmtime::{
    Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

use super::state::{self, State};
use super::ticker::Ticker;
use super::{Config, Error, limits};

/// Where code runs.
pub(super) struct Place {
    pub(super) wasmtime: wasmtime::Engine,
    pub(super) linker: Linker<State>,
}

/// One place for components that do without the asynchronous part, one for those that do not.
pub(super) struct Places<P> {
    usual: OnceLock<P>,
    asynchronous: OnceLock<P>,
}

impl<P> Default for Places<P> {
    fn default() -> Self {
        Self {
            usual: OnceLock::new(),
            asynchronous: OnceLock::new(),
        }
    }
}

impl<P> Places<P> {
    pub(super) fn get_or_init(&self, is_async: bool, make: impl FnOnce() -> P) -> &P {
        let place = if is_async {
            &self.asynchronous
        } else {
            &self.usual
        };
        place.get_or_init(make)
    }
}

/// Where optimised code runs.
///
/// Falls back to on-demand allocation, with a warning, where the address space of the pooling
/// allocator cannot be reserved.
///
/// # Errors
/// [`Error::Settings`] when wasmtime refuses the settings.
pub(super) fn optimized<'a>(
    places: &'a Places<Result<Place, Error>>,
    is_async: bool,
    config: &Config,
    ticker: &Ticker,
) -> Result<&'a Place, Error> {
    let make = || {
        let made = match make(&settings(config, is_async), is_async, ticker) {
            Err(error) if config.pooling => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "pooling allocator is not available, instances start slower"
                );
                let on_demand = Config {
                    pooling: false,
                    ..config.clone()
                };
                make(&settings(&on_demand, is_async), is_async, ticker)
            }
            made => made,
        };
        made.map_err(|error| Error::Settings(format!("{error:#}")))
    };
    places
        .get_or_init(is_async, make)
        .as_ref()
        .map_err(Clone::clone)
}

/// Where code of the baseline compiler runs; none where it has no such compiler.
pub(super) fn baseline<'a>(
    places: &'a Places<Option<Place>>,
    is_async: bool,
    config: &Config,
    ticker: &Ticker,
) -> Option<&'a Place> {
    let make = || {
        if !cfg!(target_arch = "x86_64") {
            return None;
        }
        let mut settings = settings(config, is_async);
        settings
            .strategy(Strategy::Winch)
            .max_wasm_stack(limits::BASELINE_STACK_BYTES)
            .async_stack_size(
                limits::ASYNC_STACK_BYTES + limits::BASELINE_STACK_BYTES - limits::WASM_STACK_BYTES,
            );
        match make(&settings, is_async, ticker) {
            Ok(place) => Some(place),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::debug!(
                    error,
                    "no baseline compiler, components are optimised at once"
                );
                None
            }
        }
    };
    places.get_or_init(is_async, make).as_ref()
}

fn make(settings: &wasmtime::Config, is_async: bool, ticker: &Ticker) -> wasmtime::Result<Place> {
    let wasmtime = wasmtime::Engine::new(settings)?;
    let linker = state::linker(&wasmtime, is_async)?;
    ticker.join(&wasmtime);
    Ok(Place { wasmtime, linker })
}

fn settings(config: &Config, is_async: bool) -> wasmtime::Config {
    let mut c = wasmtime::Config::new();
    c.wasm_component_model(true)
        .wasm_component_model_async(is_async)
        .concurrency_support(is_async)
        .epoch_interruption(true)
        .parallel_compilation(true)
        .memory_init_cow(true)
        .max_wasm_stack(limits::WASM_STACK_BYTES)
        .async_stack_size(limits::ASYNC_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .cranelift_opt_level(OptLevel::Speed);
    if config.pooling {
        c.allocation_strategy(InstanceAllocationStrategy::Pooling(pool_config(
            config, is_async,
        )));
    }
    c
}

fn pool_config(config: &Config, is_async: bool) -> PoolingAllocationConfig {
    let n = config.instances;
    let mut p = PoolingAllocationConfig::default();
    p.linear_memory_keep_resident(config.keep_resident_bytes)
        .table_keep_resident(64 << 10)
        .pagemap_scan(if cfg!(target_os = "linux") {
            Enabled::Auto
        } else {
            Enabled::No
        })
        .decommit_batch_size(config.decommit_batch)
        .total_component_instances(n)
        // A component of wit-component has four core instances: program, adapter and two shims.
        .total_core_instances(n.saturating_mul(4))
        .total_memories(n)
        .total_tables(n.saturating_mul(2))
        // A store has one stack, which it keeps for its next call; with concurrency one for each task
        // that waits in the guest. Each is two mappings, of which Linux lets a process have 65 530.
        .total_stacks(if is_async { n.saturating_mul(2) } else { n })
        .total_gc_heaps((n / 8).max(1))
        .max_core_instances_per_component(limits::INSTANCES)
        .max_memories_per_component(limits::MEMORIES)
        .max_tables_per_component(limits::TABLES)
        .max_memories_per_module(limits::MEMORIES)
        .max_tables_per_module(limits::TABLES)
        .table_elements(limits::TABLE_ELEMENTS);
    p
}
