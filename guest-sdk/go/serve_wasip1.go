package serve

import (
	"net/http"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/entry"
)

// ListenAndServe lets handler, or http.DefaultServeMux if it is nil, answer the
// host's requests. It does not return.
func ListenAndServe(addr string, handler http.Handler) error {
	if handler == nil {
		handler = http.DefaultServeMux
	}
	entry.Register(addr, handler)
	select {}
}

// Serve is ListenAndServe on the port that the host sends requests to.
func Serve(handler http.Handler) error {
	return ListenAndServe(":"+entry.Port(), handler)
}
