// Package unmodified, imported for its effect, lets an ordinary net/http server
// run as a wasi:http component without a change:
//
//	import _ "github.com/serve-wasm/serve/guest-sdk/go/unmodified"
//
// The program listens on $PORT as ever. On wasip1 Go's network is inside the
// program; this package starts main and plays the host's requests to the port.
// Elsewhere it is empty. Requests are HTTP/1.1 to the program; see package h2c for
// HTTP/2.
package unmodified
