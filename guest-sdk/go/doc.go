// Package serve runs net/http handlers as a wasi:http component.
//
// [ListenAndServe] has the signature of http.ListenAndServe, and off WebAssembly
// it is http.ListenAndServe: "go run" and "go test" stay native. Built with
// GOOS=wasip1 GOARCH=wasm -buildmode=c-shared, the host owns the socket, and the
// handler gets the requests that the host received.
//
// A program that must not change at all imports package unmodified instead.
package serve
