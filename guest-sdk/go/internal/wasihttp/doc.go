// Package wasihttp is the part of wasi:http 0.2 that an HTTP server needs,
// bound by hand to the canonical ABI with nothing but the standard library.
//
// Input: the two handles that the host passes to the exported handle function.
// Output: an [Incoming] with the request's head and a streaming body, and an
// [Outgoing] that takes status, headers, body and trailers.
//
// A component has one thread and, at version 0.2, one request at a time. What
// keeps the goroutines of that request going:
//
//   - cabi_realloc never allocates (memory_wasip1.go);
//   - no import that may block is called, but for poll, which one goroutine
//     calls for all others (poll_wasip1.go);
//   - between an import's return and the copy of its result no other goroutine
//     runs: Go for wasm has no preemption, and nothing in between allocates.
//
// Imports are named at version 0.2.0, the widest reach: hosts match any 0.2.x.
// The package is empty on every GOOS but wasip1.
package wasihttp
