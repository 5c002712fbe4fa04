//! What one instance may take, counted over its whole store.
//!
//! # Source
//! `spec/limits.md` section 3. Differs: memory is refused with a failed `memory.grow`, which most
//! guests turn into a trap themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::ResourceLimiter;

/// Stack of wasm code before it traps.
pub(super) const WASM_STACK_BYTES: usize = 512 << 10;
/// The same for code of the baseline compiler, whose frames are larger.
pub(super) const BASELINE_STACK_BYTES: usize = 1 << 20;
/// Stack that wasm and host functions share in an asynchronous call.
pub(super) const ASYNC_STACK_BYTES: usize = 2 << 20;
/// Elements of all tables of an instance together.
pub(super) const TABLE_ELEMENTS: usize = 20_000;
/// Core instances of one component.
pub(super) const INSTANCES: u32 = 32;
/// Linear memories of one component.
pub(super) const MEMORIES: u32 = 8;
/// Tables of one component.
pub(super) const TABLES: u32 = 8;

/// Numbers that a guest cannot exceed; each is set on every store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all linear memories of an instance together.
    pub memory_bytes: usize,
    /// Live handles to resources of an instance, in the host and between its parts.
    pub handles: usize,
    /// Bytes that one call into the host may copy out of the guest.
    pub host_call_bytes: usize,
    /// Bytes of one set of header fields, with their bookkeeping.
    pub header_bytes: usize,
    /// Bytes of one request for random numbers.
    pub random_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 256 << 20,
            handles: 10_000,
            host_call_bytes: 128 << 20,
            header_bytes: 128 << 10,
            random_bytes: 64 << 10,
        }
    }
}

/// How many instances there can be at once in all engines of wasmtime.
#[derive(Debug)]
pub(super) struct Room(AtomicU32);

impl Room {
    pub(super) fn new(instances: u32) -> Room {
        Room(AtomicU32::new(instances))
    }

    /// A seat for one more instance; none when all are taken.
    pub(super) fn seat(self: &Arc<Room>) -> Option<Seat> {
        let one_less = |free: u32| free.checked_sub(1);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        taken.ok().map(|_| Seat(self.clone()))
    }
}

/// Taken until it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Room>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The limiter of one store: it adds up what single memories and tables cannot see.
#[derive(Debug)]
pub(super) struct Meter {
    memory_limit: usize,
    memory_bytes: usize,
    table_elements: usize,
    /// What the last permitted growth added: taken back when the growth itself fails.
    last_memory: usize,
    last_table: usize,
    refused: Option<Refused>,
}

/// Which limit the guest ran into last, for the log line of the trap that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Memory,
    Table,
}

impl Meter {
    pub(super) fn new(limits: &Limits) -> Meter {
        Meter {
            memory_limit: limits.memory_bytes,
            memory_bytes: 0,
            table_elements: 0,
            last_memory: 0,
            last_table: 0,
            refused: None,
        }
    }

    /// Bytes of all linear memories now.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let added = desired.saturating_sub(current);
        let fits = self
            .memory_bytes
            .checked_add(added)
            .is_some_and(|sum| sum <= self.memory_limit);
        self.last_memory = if fits { added } else { 0 };
        self.memory_bytes += self.last_memory;
        if !fits {
            self.refused = Some(Refused::Memory);
        }
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_bytes -= std::mem::take(&mut self.last_memory);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let added = desired.saturating_sub(current);
        let fits = self
            .table_elements
            .checked_add(added)
            .is_some_and(|sum| sum <= TABLE_ELEMENTS);
        self.last_table = if fits { added } else { 0 };
        self.table_elements += self.last_table;
        if !fits {
            self.refused = Some(Refused::Table);
        }
        Ok(fits)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table_elements -= std::mem::take(&mut self.last_table);
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn meter(memory_bytes: usize) -> Meter {
        Meter::new(&Limits {
            memory_bytes,
            ..Limits::default()
        })
    }

    #[test]
    fn two_memories_share_one_limit() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap());
        assert_eq!(
            (meter.memory_bytes(), meter.refused()),
            (100, Some(Refused::Memory))
        );
    }

    #[test]
    fn failed_growth_is_not_counted() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 100, None).unwrap());
        meter
            .memory_grow_failed(wasmtime::format_err!("no address space"))
            .unwrap();
        assert!(meter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn tables_are_summed_too() {
        let mut meter = meter(0);
        assert!(meter.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(!meter.table_growing(0, 1, None).unwrap());
    }
}
