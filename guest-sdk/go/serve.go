//go:build !wasip1

package serve

import (
	"net/http"
	"os"
)

// ListenAndServe is http.ListenAndServe.
func ListenAndServe(addr string, handler http.Handler) error {
	return http.ListenAndServe(addr, handler)
}

// Serve is ListenAndServe on $PORT, or on 8080 where that is not set.
func Serve(handler http.Handler) error {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	return http.ListenAndServe(":"+port, handler)
}
