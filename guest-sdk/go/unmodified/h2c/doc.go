// Package h2c, imported for its effect, is package unmodified for programs that
// serve HTTP/2 without TLS, such as gRPC servers:
//
//	import _ "github.com/serve-wasm/serve/guest-sdk/go/unmodified/h2c"
//
// Requests are played as HTTP/2 when SERVE_HTTP_PROTO=h2c is set, which the host
// does for a container port named h2c, else as HTTP/1.1. It is a package of its
// own because HTTP/2's client adds 1.2 MB.
package h2c
