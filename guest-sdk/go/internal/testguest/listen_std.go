//go:build !sdk

package main

import (
	"net/http"
	"os"
)

func listenAndServe(addr string, h http.Handler) error {
	s := &http.Server{Addr: addr, Handler: h}
	if os.Getenv("SERVE_HTTP_PROTO") == "h2c" {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetUnencryptedHTTP2(true) // and no HTTP/1
	}
	return s.ListenAndServe()
}
