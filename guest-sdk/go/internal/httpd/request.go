//go:build go1.24

package httpd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// Field is one header or trailer field. Name is in canonical form when the host
// sent it.
type Field struct{ Name, Value string }

// Head is a request without its body.
type Head struct {
	Method    string
	Target    string // path and query as on the wire
	Authority string // host, perhaps with a port
	Fields    []Field
}

// Body is a request's body. The callback of OnEnd gets the trailers before Read
// says io.EOF.
type Body interface {
	io.ReadCloser
	OnEnd(func(trailers []Field))
}

// HopByHop tells whether a field, its name in canonical form, concerns one
// connection only. The host owns the connection and refuses such fields.
func HopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Host", "Http2-Settings":
		return true
	}
	return false
}

// ContentLength returns the length that the head declares. It is -1 when it is
// declared wrongly: not a number, or two that differ.
func (h *Head) ContentLength() (length int64, known bool) {
	for _, f := range h.Fields {
		if f.Name != "Content-Length" {
			continue
		}
		n, err := strconv.ParseUint(f.Value, 10, 63)
		if err != nil || known && int64(n) != length {
			return -1, true
		}
		length, known = int64(n), true
	}
	return length, known
}

// NewRequest makes the request that a handler sees. body is nil when there is
// none. With http2 the request says HTTP/2.0, else HTTP/1.1.
//
// # Errors
// The head is one that net/http answers with 400: a bad Content-Length, target,
// method or host.
func NewRequest(ctx context.Context, head *Head, body Body, http2 bool) (*http.Request, error) {
	length, known := head.ContentLength()
	switch {
	case length < 0:
		return nil, errors.New("bad Content-Length")
	case !known && body != nil:
		length = -1
	}
	u, err := parseTarget(head)
	if err != nil {
		return nil, err
	}
	r := (&http.Request{}).WithContext(ctx)
	r.Method = head.Method
	r.URL = u
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	if http2 {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	}
	r.Header = makeHeader(head.Fields)
	r.Host = head.Authority
	if r.Host == "" {
		r.Host = r.Header.Get("Host")
	}
	delete(r.Header, "Host")
	r.ContentLength = length
	r.RequestURI = head.Target
	r.RemoteAddr = remoteAddr(r.Header)
	if body == nil {
		r.Body = http.NoBody
		return r, nil
	}
	r.Body = body
	r.Trailer = announced(r.Header)
	body.OnEnd(func(trailers []Field) { mergeTrailers(r, trailers) })
	return r, nil
}

// parseTarget does what net/http's server does with the request line.
func parseTarget(head *Head) (*url.URL, error) {
	if head.Method == http.MethodConnect && !strings.HasPrefix(head.Target, "/") {
		u, err := url.ParseRequestURI("http://" + head.Target)
		if err == nil {
			u.Scheme = ""
		}
		return u, err
	}
	return url.ParseRequestURI(head.Target)
}

// makeHeader has one array behind all values, as most names come once.
func makeHeader(fields []Field) http.Header {
	h := make(http.Header, len(fields))
	values := make([]string, len(fields))
	for i, f := range fields {
		values[i] = f.Value
		if old := h[f.Name]; old != nil {
			h[f.Name] = append(old, f.Value)
		} else {
			h[f.Name] = values[i : i+1 : i+1]
		}
	}
	return h
}

// announced moves the names in the header Trailer to a map of their own.
func announced(h http.Header) http.Header {
	names, ok := h["Trailer"]
	if !ok {
		return nil
	}
	delete(h, "Trailer")
	t := http.Header{}
	for _, list := range names {
		for name := range strings.SplitSeq(list, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)); ValidTrailer(name) {
				t[name] = nil
			}
		}
	}
	if len(t) == 0 {
		return nil
	}
	return t
}

func mergeTrailers(r *http.Request, trailers []Field) {
	if len(trailers) == 0 {
		return
	}
	if r.Trailer == nil {
		r.Trailer = make(http.Header, len(trailers))
	}
	for _, f := range trailers {
		r.Trailer[f.Name] = append(r.Trailer[f.Name], f.Value)
	}
}

// ValidTrailer tells whether a field, its name in canonical form, may be a
// trailer: it must not say how to read the message it ends.
func ValidTrailer(name string) bool {
	switch name {
	case "", "Transfer-Encoding", "Trailer", "Content-Length":
		return false
	}
	return true
}

// remoteAddr is the nearest address that the host reports, in the form that
// net.SplitHostPort takes, or "". The last element is the one that the host
// added; those before it are the client's word.
func remoteAddr(h http.Header) string {
	if v := h["X-Forwarded-For"]; len(v) > 0 {
		return withPort(lastElement(v[len(v)-1]))
	}
	v := h["Forwarded"]
	if len(v) == 0 {
		return ""
	}
	for pair := range strings.SplitSeq(lastElement(v[len(v)-1]), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(name, "for") {
			return withPort(strings.Trim(value, `"`))
		}
	}
	return ""
}

func lastElement(list string) string {
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}

func withPort(address string) string {
	if p, err := netip.ParseAddrPort(address); err == nil {
		return p.String()
	}
	if a, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return net.JoinHostPort(a.String(), "0")
	}
	return ""
}
