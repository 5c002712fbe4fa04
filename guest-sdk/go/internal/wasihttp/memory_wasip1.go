//go:build go1.24

package wasihttp

import "unsafe"

// Memory that the host fills through cabi_realloc.
//
// The component model traps ("cannot leave component instance") when guest code
// calls an import while it runs on behalf of cabi_realloc. Go's allocator may
// start a GC cycle, which reads the clock, which is an import: cabi_realloc must
// therefore never allocate. It must not grow the goroutine's stack either, which
// the host's callers above it point into. So it is nosplit, touches no Go
// pointer (no write barrier), and hands out one of three static places:
//
//   - early, before this package is initialised: the preview1 adapter allocates
//     its state there during _initialize and keeps it, so it is never reused;
//   - the buffer named by expect, when one list of known size is awaited: bytes
//     of a body arrive where the caller of Read wants them, without a copy;
//   - arena, for headers and error texts, emptied when nobody reads it.
var (
	initialised bool

	early     [128 << 10]byte
	earlyUsed uint32

	// The host bounds a header section to 128 KiB on the wire. As a list it
	// grows by 16 bytes an entry, and an entry has at least 5 bytes on the wire
	// (32 by HTTP/2's reckoning): 128 KiB + 16 * 128 KiB / 5 < 1 MiB.
	arena     [1 << 20]byte
	arenaUsed uint32
	arenaHeld int

	expectAt, expectSize uint32
	expectPin            []byte

	// ret is where imports write their results. One is enough: it is read
	// before any other goroutine can run. Static, so that it cannot move.
	ret [8]uint64
)

func init() { initialised = true }

//go:wasmexport cabi_realloc
//go:nosplit
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if oldSize != 0 {
		return nil // nothing here grows; the host sees an address out of bounds and traps
	}
	if expectAt != 0 && size <= expectSize && expectAt&(align-1) == 0 {
		p := expectAt
		expectAt = 0
		return at(p)
	}
	base, limit, used := uint32(uintptr(unsafe.Pointer(&arena))), uint32(len(arena)), &arenaUsed
	if !initialised {
		base, limit, used = uint32(uintptr(unsafe.Pointer(&early))), uint32(len(early)), &earlyUsed
	}
	start := (base+*used+align-1)&^(align-1) - base
	if start > limit || size > limit-start {
		return nil
	}
	*used = start + size
	return at(base + start)
}

// expect makes b the destination of the next list the host passes. The list is
// of bytes, or b is aligned for it. Follow with the import at once, then
// unexpect.
func expect(b []byte) {
	expectPin = b // on the heap from here on: a stack could move under the host
	expectAt, expectSize = uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), uint32(len(b))
}

func unexpect() { expectAt, expectPin = 0, nil }

// hold keeps the arena's content until the matching release. Allocating while it
// is held is fine: another goroutine that runs then gets memory further up.
func hold() { arenaHeld++ }

func release() {
	if arenaHeld--; arenaHeld == 0 {
		arenaUsed = 0
	}
}

// at is the address in linear memory as a pointer.
func at(address uint32) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(nil), address) }

func retAt() unsafe.Pointer    { return unsafe.Pointer(&ret) }
func retU8(offset int) uint8   { return *(*uint8)(unsafe.Add(retAt(), offset)) }
func retU32(offset int) uint32 { return *(*uint32)(unsafe.Add(retAt(), offset)) }
func retU64(offset int) uint64 { return *(*uint64)(unsafe.Add(retAt(), offset)) }

// span is a string in memory that the host filled.
type span struct{ at, size uint32 }

func retSpan(offset int) span { return span{retU32(offset), retU32(offset + 4)} }

func (s span) bytes() []byte {
	if s.size == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(at(s.at)), s.size)
}
