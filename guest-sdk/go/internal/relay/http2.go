//go:build go1.24

package relay

import (
	"context"
	"log"
	"net"
	"net/http"
	"net/url"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
)

// Play answers one request.
type Play func(head *httpd.Head, body httpd.Body, out httpd.Exchange)

// OverHTTP2 is NewHTTP2(dial).Serve in programs that import package h2c, else nil:
// so that the others do not link it.
var OverHTTP2 func(dial func() (net.Conn, error)) Play

// HTTP2 plays requests to a server that speaks HTTP/2 without TLS from the first
// byte, as Knative does to a port named h2c: gRPC servers, for one.
type HTTP2 struct{ transport *http.Transport }

// NewHTTP2 makes a relay to the connections that dial makes.
func NewHTTP2(dial func() (net.Conn, error)) *HTTP2 {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &HTTP2{&http.Transport{
		Protocols:          protocols,
		DisableCompression: true,
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return dial() },
	}}
}

// Serve plays one request and returns when its response has ended. It closes the
// body, which is nil when there is none.
func (h *HTTP2) Serve(head *httpd.Head, body httpd.Body, out httpd.Exchange) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if body != nil {
		defer body.Close()
	}
	req, err := httpd.NewRequest(ctx, head, body, true)
	if err != nil {
		out.Respond(http.StatusBadRequest, nil, false)
		out.Finish(nil)
		return
	}
	req.RequestURI = ""
	req.URL = &url.URL{Scheme: "http", Host: "in.process", Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery, ForceQuery: req.URL.ForceQuery}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = []string{""} // else the transport adds its own
	}
	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		log.Printf("serve: the program gave no HTTP/2 answer: %v", err)
		out.Abort("the program gave no HTTP/2 answer")
		return
	}
	defer resp.Body.Close()
	// A response that ends with its headers must arrive so: gRPC tells it from one
	// that lost its trailers.
	_, declared := resp.Header["Content-Length"]
	ended := resp.ContentLength == 0 && !declared
	bodyless := ended || head.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	if err := out.Respond(resp.StatusCode, fields(resp), !bodyless); err != nil {
		out.Abort(err.Error())
		return
	}
	if bodyless {
		out.Finish(nil)
		return
	}
	stop := watch(out, cancel)
	defer stop()
	if err := copyBody(resp.Body, out, func() bool { return true }); err != nil {
		out.Abort("the program ended its answer early")
		return
	}
	out.Finish(trailers(resp))
}
