//go:build go1.24

package wasihttp

import "unsafe"

// The imports, in the order of the interfaces. Pointers and lengths are passed
// flat; ret is where the host writes a result that does not fit one value.

//go:wasmimport wasi:http/types@0.2.0 [static]fields.from-list
//go:noescape
func fieldsFromList(p unsafe.Pointer, n uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [constructor]fields
//go:noescape
func fieldsNew() uint32

//go:wasmimport wasi:http/types@0.2.0 [method]fields.append
//go:noescape
func fieldsAppend(self uint32, np unsafe.Pointer, nl uint32, vp unsafe.Pointer, vl uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]fields.entries
//go:noescape
func fieldsEntries(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]fields
//go:noescape
func fieldsDrop(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.method
//go:noescape
func requestMethod(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.path-with-query
//go:noescape
func requestPath(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.authority
//go:noescape
func requestAuthority(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.headers
//go:noescape
func requestHeaders(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.consume
//go:noescape
func requestConsume(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]incoming-request
//go:noescape
func requestDrop(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-body.stream
//go:noescape
func inBodyStream(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [static]incoming-body.finish
//go:noescape
func inBodyFinish(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]incoming-body
//go:noescape
func inBodyDrop(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [method]future-trailers.subscribe
//go:noescape
func trailersSubscribe(self uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]future-trailers.get
//go:noescape
func trailersGet(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]future-trailers
//go:noescape
func trailersDrop(self uint32)

//go:wasmimport wasi:http/types@0.2.0 [constructor]outgoing-response
//go:noescape
func responseNew(headers uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-response.set-status-code
//go:noescape
func responseSetStatus(self uint32, code uint32) uint32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-response.body
//go:noescape
func responseBody(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-body.write
//go:noescape
func outBodyWrite(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [static]outgoing-body.finish
//go:noescape
func outBodyFinish(self uint32, hasTrailers uint32, trailers uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]outgoing-body
//go:noescape
func outBodyDrop(self uint32)

// outparamSet takes result<outgoing-response, error-code> flattened: isErr, then
// the joined payloads. For a response, first is its handle. For an error, first
// is the case of error-code and p0 to p5 are its own joined payload.
//
//go:wasmimport wasi:http/types@0.2.0 [static]response-outparam.set
//go:noescape
func outparamSet(param uint32, isErr uint32, first uint32, p0 uint32, p1 uint64, p2, p3, p4, p5 uint32)

//go:wasmimport wasi:io/streams@0.2.0 [method]input-stream.read
//go:noescape
func inRead(self uint32, n uint64, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]input-stream.subscribe
//go:noescape
func inSubscribe(self uint32) uint32

//go:wasmimport wasi:io/streams@0.2.0 [resource-drop]input-stream
//go:noescape
func inDrop(self uint32)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.check-write
//go:noescape
func outCheckWrite(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.write
//go:noescape
func outWrite(self uint32, p unsafe.Pointer, n uint32, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.flush
//go:noescape
func outFlush(self uint32, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.subscribe
//go:noescape
func outSubscribe(self uint32) uint32

//go:wasmimport wasi:io/streams@0.2.0 [resource-drop]output-stream
//go:noescape
func outDrop(self uint32)

//go:wasmimport wasi:io/error@0.2.0 [resource-drop]error
//go:noescape
func errorDrop(self uint32)

//go:wasmimport wasi:io/poll@0.2.0 [method]pollable.ready
//go:noescape
func pollableReady(self uint32) uint32

//go:wasmimport wasi:io/poll@0.2.0 poll
//go:noescape
func pollMany(p unsafe.Pointer, n uint32, ret unsafe.Pointer)

//go:wasmimport wasi:io/poll@0.2.0 [resource-drop]pollable
//go:noescape
func pollableDrop(self uint32)

//go:wasmimport wasi:clocks/monotonic-clock@0.2.0 subscribe-duration
//go:noescape
func clockSubscribe(nanoseconds uint64) uint32

//go:wasmimport wasi:clocks/monotonic-clock@0.2.0 now
//go:noescape
func clockNow() uint64
