// Package httpd is the part of net/http's server that is left when the host
// parses and writes HTTP: from a request's head to an *http.Request, and an
// http.ResponseWriter that behaves as net/http's does.
//
// Input: a [Head] and a body. Output: calls of an [Exchange]. It knows nothing of
// WebAssembly, so that its tests run natively with net/http's own server as the
// judge.
package httpd
