//go:build go1.24

package relay

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
)

// client is the host's side of an exchange.
type client struct {
	status   int
	fields   []httpd.Field
	body     bool
	pieces   chan string // of the response body
	trailers []httpd.Field
	finished bool
	aborted  string
	gone     atomic.Bool
}

func newClient() *client { return &client{pieces: make(chan string, 1000)} }

func (c *client) Respond(status int, fields []httpd.Field, body bool) error {
	c.status, c.fields, c.body = status, fields, body
	return nil
}

func (c *client) Write(p []byte) (int, error) {
	if c.gone.Load() {
		return 0, errors.New("gone")
	}
	c.pieces <- string(p)
	return len(p), nil
}

func (c *client) Flush() error { return nil }

func (c *client) Finish(trailers []httpd.Field) error {
	c.trailers, c.finished = trailers, true
	close(c.pieces)
	return nil
}

func (c *client) Abort(reason string) {
	c.aborted = reason
	close(c.pieces)
}

func (c *client) Gone() bool { return c.gone.Load() }

func (c *client) text() string {
	var b strings.Builder
	for p := range c.pieces {
		b.WriteString(p)
	}
	return b.String()
}

func (c *client) field(name string) (values []string) {
	for _, f := range c.fields {
		if f.Name == name {
			values = append(values, f.Value)
		}
	}
	return values
}

// upload is a request body that the test writes while it is read.
type upload struct {
	*io.PipeReader
	trailers []httpd.Field
	onEnd    func([]httpd.Field)
}

func (u *upload) OnEnd(f func([]httpd.Field)) { u.onEnd = f }

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.PipeReader.Read(p)
	if err == io.EOF && u.onEnd != nil {
		u.onEnd(u.trailers)
	}
	if err == io.ErrClosedPipe {
		err = http.ErrBodyReadAfterClose
	}
	return n, err
}

func newUpload(trailers ...httpd.Field) (*upload, *io.PipeWriter) {
	r, w := io.Pipe()
	return &upload{PipeReader: r, trailers: trailers}, w
}

// start runs a server and a relay to it; dials counts its connections.
func start(t *testing.T, h http.HandlerFunc) (r *Relay, dials *int) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	dials = new(int)
	return &Relay{dial: func() (net.Conn, error) {
		*dials++
		return net.Dial("tcp", s.Listener.Addr().String())
	}}, dials
}

func get(target string) *httpd.Head {
	return &httpd.Head{Method: "GET", Target: target, Authority: "example.com:99"}
}

func TestRequestArrivesUnchanged(t *testing.T) {
	var seen *http.Request
	var body string
	r, _ := start(t, func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		seen, body = req, string(b)
	})
	cases := []struct {
		name    string
		head    *httpd.Head
		body    string
		noBody  bool
		header  http.Header
		length  int64
		chunked bool
	}{
		{name: "nothing is added", head: get("//a/%2F?x=%zz"), noBody: true, header: http.Header{}},
		{name: "repeats and bytes are kept",
			head:   &httpd.Head{Method: "PURGE", Target: "/", Authority: "h", Fields: []httpd.Field{{Name: "X-A", Value: "1"}, {Name: "X-A", Value: "2"}, {Name: "X-B", Value: "\xc3\xa9"}, {Name: "Accept-Encoding", Value: "br"}}},
			noBody: true, header: http.Header{"X-A": {"1", "2"}, "X-B": {"\xc3\xa9"}, "Accept-Encoding": {"br"}}},
		{name: "connection fields stay behind",
			head:   &httpd.Head{Method: "GET", Target: "/", Authority: "h", Fields: []httpd.Field{{Name: "Connection", Value: "close"}, {Name: "Upgrade", Value: "x"}}},
			noBody: true, header: http.Header{}},
		{name: "body with a length",
			head: &httpd.Head{Method: "POST", Target: "/", Authority: "h", Fields: []httpd.Field{{Name: "Content-Length", Value: "3"}}},
			body: "abc", header: http.Header{"Content-Length": {"3"}}, length: 3},
		{name: "body without a length", head: &httpd.Head{Method: "PUT", Target: "/", Authority: "h"},
			body: "abc", header: http.Header{}, length: -1, chunked: true},
		{name: "GET with a body", head: get("/"), body: "abc", header: http.Header{}, length: -1, chunked: true},
		{name: "body of no bytes",
			head: &httpd.Head{Method: "POST", Target: "/", Authority: "h", Fields: []httpd.Field{{Name: "Content-Length", Value: "0"}}}, noBody: true,
			header: http.Header{"Content-Length": {"0"}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out := newClient()
			if c.noBody {
				r.Serve(c.head, nil, out)
			} else {
				up, w := newUpload()
				go func() { io.WriteString(w, c.body); w.Close() }()
				r.Serve(c.head, up, out)
			}
			if out.status != 200 || !out.finished {
				t.Fatalf("status %d, aborted %q", out.status, out.aborted)
			}
			if !reflect.DeepEqual(seen.Header, c.header) {
				t.Errorf("header %v, want %v", seen.Header, c.header)
			}
			if seen.Method != c.head.Method || seen.RequestURI != c.head.Target || seen.Host != c.head.Authority || seen.ContentLength != c.length || body != c.body {
				t.Errorf("got %s %s of %s, length %d, body %q", seen.Method, seen.RequestURI, seen.Host, seen.ContentLength, body)
			}
		})
	}
}

func TestAnswerArrivesUnchanged(t *testing.T) {
	large := strings.Repeat("0123456789", 30_000)
	cases := []struct {
		name     string
		method   string
		handler  http.HandlerFunc
		status   int
		fields   map[string][]string
		body     string
		bodyless bool
		trailers []httpd.Field
	}{
		{name: "plain", handler: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
			status: 200, fields: map[string][]string{"Content-Length": {"5"}, "Content-Type": {"text/plain; charset=utf-8"}}, body: "hello"},
		{name: "no type", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "hello")
		}, status: 200, fields: map[string][]string{"Content-Type": nil}, body: "hello"},
		{name: "repeats", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Set-Cookie"] = []string{"a", "b"}
			w.WriteHeader(418)
		}, status: 418, fields: map[string][]string{"Set-Cookie": {"a", "b"}, "Content-Length": {"0"}}},
		{name: "large", handler: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, large) },
			status: 200, fields: map[string][]string{"Content-Length": nil, "Transfer-Encoding": nil}, body: large},
		{name: "HEAD", method: "HEAD", handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "77") },
			status: 200, fields: map[string][]string{"Content-Length": {"77"}}, bodyless: true},
		{name: "204", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, status: 204, bodyless: true},
		{name: "304", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, status: 304, bodyless: true},
		{name: "interim responses are skipped", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			io.WriteString(w, "x")
		}, status: 200, body: "x"},
		{name: "trailers", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-B, X-A")
			io.WriteString(w, "x")
			w.Header().Set("X-A", "1")
			w.Header()["X-B"] = []string{"2", "3"}
			w.Header().Set(http.TrailerPrefix+"X-C", "4")
		}, status: 200, fields: map[string][]string{"Trailer": {"X-A, X-B"}}, body: "x",
			trailers: []httpd.Field{{Name: "X-A", Value: "1"}, {Name: "X-B", Value: "2"}, {Name: "X-B", Value: "3"}, {Name: "X-C", Value: "4"}}},
		{name: "body until the connection closes", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Transfer-Encoding", "identity")
			io.WriteString(w, "until the end")
		}, status: 200, body: "until the end"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, _ := start(t, c.handler)
			out, head := newClient(), get("/")
			if c.method != "" {
				head.Method = c.method
			}
			r.Serve(head, nil, out)
			if out.aborted != "" || !out.finished {
				t.Fatalf("aborted: %q", out.aborted)
			}
			if body := out.text(); out.status != c.status || body != c.body || out.body == c.bodyless {
				t.Errorf("got %d, %d bytes, body %v", out.status, len(body), out.body)
			}
			for name, want := range c.fields {
				if got := out.field(name); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if !reflect.DeepEqual(out.trailers, c.trailers) {
				t.Errorf("trailers: got %v, want %v", out.trailers, c.trailers)
			}
		})
	}
}

func TestRequestTrailersArrive(t *testing.T) {
	var got http.Header
	r, _ := start(t, func(_ http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		got = req.Trailer
	})
	up, w := newUpload(httpd.Field{Name: "X-Sum", Value: "3"})
	go func() { io.WriteString(w, "abc"); w.Close() }()
	head := &httpd.Head{Method: "POST", Target: "/", Authority: "h", Fields: []httpd.Field{{Name: "Trailer", Value: "X-Sum"}}}
	r.Serve(head, up, newClient())
	if want := (http.Header{"X-Sum": {"3"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBothDirectionsStreamAtOnce(t *testing.T) {
	r, _ := start(t, func(w http.ResponseWriter, req *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		buf := make([]byte, 100)
		for {
			n, err := req.Body.Read(buf)
			w.Write(bytes.ToUpper(buf[:n]))
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	})
	up, w := newUpload()
	out := newClient()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Serve(&httpd.Head{Method: "POST", Target: "/", Authority: "h"}, up, out)
	}()
	for _, s := range []string{"one", "two", "three"} {
		io.WriteString(w, s)
		if got := <-out.pieces; got != strings.ToUpper(s) { // comes before the next is sent
			t.Fatalf("got %q", got)
		}
	}
	w.Close()
	<-done
	if !out.finished {
		t.Error("not finished")
	}
}

func TestConnectionIsReusedWhenInOrder(t *testing.T) {
	r, dials := start(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/close":
			w.Header().Set("Connection", "close")
		case "/panic":
			panic("boom")
		}
	})
	for i, step := range []struct {
		target string
		dials  int
	}{{"/", 1}, {"/", 1}, {"/close", 1}, {"/", 2}, {"/panic", 2}, {"/", 3}, {"/", 3}} {
		r.Serve(get(step.target), nil, newClient())
		if *dials != step.dials {
			t.Errorf("step %d: %d dials, want %d", i, *dials, step.dials)
		}
	}
	r.idle.since = time.Now().Add(-2 * maxIdle)
	r.Serve(get("/"), nil, newClient())
	if *dials != 4 {
		t.Errorf("a connection was used after %v", maxIdle)
	}
}

func TestPanicAborts(t *testing.T) {
	r, _ := start(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/mid" {
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
		}
		panic("boom")
	})
	out := newClient()
	r.Serve(get("/"), nil, out)
	if out.status != 0 || out.aborted == "" {
		t.Errorf("before the response: status %d, aborted %q", out.status, out.aborted)
	}
	out = newClient()
	r.Serve(get("/mid"), nil, out)
	if got := out.text(); out.status != 200 || got != "half" || out.aborted == "" || out.finished {
		t.Errorf("within the response: status %d, %q, aborted %q", out.status, got, out.aborted)
	}
}

func TestClientThatLeavesCancelsTheHandler(t *testing.T) {
	cancelled := make(chan struct{})
	waiting := make(chan struct{})
	r, _ := start(t, func(w http.ResponseWriter, req *http.Request) {
		w.(http.Flusher).Flush()
		close(waiting)
		<-req.Context().Done()
		close(cancelled)
	})
	out := newClient()
	go func() { <-waiting; out.gone.Store(true) }()
	r.Serve(get("/"), nil, out)
	select {
	case <-cancelled:
	case <-time.After(5 * time.Second):
		t.Error("the handler was not told")
	}
	if out.finished {
		t.Error("finished in order")
	}
}

func TestUploadThatBreaksOffIsSeenByTheHandler(t *testing.T) {
	seen := make(chan error, 1)
	r, _ := start(t, func(_ http.ResponseWriter, req *http.Request) {
		_, err := io.ReadAll(req.Body)
		seen <- err
	})
	up, w := newUpload()
	go func() { io.WriteString(w, "abc"); w.CloseWithError(errors.New("gone")) }()
	out := newClient()
	r.Serve(&httpd.Head{Method: "POST", Target: "/", Authority: "h", Fields: []httpd.Field{{Name: "Content-Length", Value: "10"}}}, up, out)
	if err := <-seen; err == nil {
		t.Error("the handler read a whole body")
	}
}

func TestAnswerBeforeTheBodyIsRead(t *testing.T) {
	r, _ := start(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 413) })
	up, w := newUpload()
	go func() {
		defer w.Close()
		for range 1000 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	out := newClient()
	r.Serve(&httpd.Head{Method: "POST", Target: "/", Authority: "h"}, up, out)
	if out.status != 413 || !out.finished {
		t.Errorf("status %d, aborted %q", out.status, out.aborted)
	}
}

func TestConnectWaitsForTheServer(t *testing.T) {
	tries := 0
	c, err := Connect(func() (net.Conn, error) {
		if tries++; tries < 5 {
			return nil, errors.New("refused")
		}
		a, _ := net.Pipe()
		return a, nil
	}, nil, time.Minute)
	if err != nil || c == nil || tries != 5 {
		t.Errorf("got %v, %v after %d tries", c, err, tries)
	}
	refused := errors.New("refused")
	if _, err := Connect(func() (net.Conn, error) { return nil, refused }, nil, time.Millisecond); err != refused {
		t.Errorf("after the limit: %v", err)
	}
	stop := make(chan struct{})
	close(stop)
	if _, err := Connect(func() (net.Conn, error) { return nil, refused }, stop, time.Minute); err != ErrStopped {
		t.Errorf("when stopped: %v", err)
	}
}

func TestHTTP2ArrivesUnchanged(t *testing.T) {
	var seen *http.Request
	var sent string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		seen, sent = req, string(b)
		switch req.URL.Path {
		case "/panic":
			panic("boom")
		case "/204":
			w.WriteHeader(204)
			return
		case "/headers-only":
			w.Header()["Content-Length"] = nil
			return
		}
		w.Header().Set("Trailer", "X-A")
		w.Header()["X-R"] = []string{"1", "2"}
		io.WriteString(w, "hello")
		w.Header().Set("X-A", "1")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	dials := 0
	r := NewHTTP2(func() (net.Conn, error) {
		dials++
		return net.Dial("tcp", s.Listener.Addr().String())
	})

	out := newClient()
	r.Serve(&httpd.Head{Method: "GET", Target: "/a/%2F?x=%zz", Authority: "example.com:99", Fields: []httpd.Field{{Name: "Te", Value: "trailers"}}}, nil, out)
	if out.status != 200 || out.text() != "hello" || !out.finished {
		t.Fatalf("status %d, aborted %q", out.status, out.aborted)
	}
	if want := (http.Header{"Te": {"trailers"}}); !reflect.DeepEqual(seen.Header, want) {
		t.Errorf("header %v, want %v", seen.Header, want)
	}
	if seen.RequestURI != "/a/%2F?x=%zz" || seen.Host != "example.com:99" || seen.Proto != "HTTP/2.0" {
		t.Errorf("got %s of %s by %s", seen.RequestURI, seen.Host, seen.Proto)
	}
	if got := out.field("X-R"); !reflect.DeepEqual(got, []string{"1", "2"}) {
		t.Errorf("X-R: %q", got)
	}
	if want := []httpd.Field{{Name: "Grpc-Status", Value: "0"}, {Name: "X-A", Value: "1"}}; !reflect.DeepEqual(out.trailers, want) {
		t.Errorf("trailers %v, want %v", out.trailers, want)
	}

	up, w := newUpload()
	go func() { io.WriteString(w, "abc"); w.Close() }()
	out = newClient()
	r.Serve(&httpd.Head{Method: "POST", Target: "/", Authority: "h"}, up, out)
	if sent != "abc" || out.status != 200 {
		t.Errorf("body %q, status %d", sent, out.status)
	}

	out = newClient()
	r.Serve(get("/204"), nil, out)
	if out.status != 204 || out.body || !out.finished {
		t.Errorf("204: status %d, body %v", out.status, out.body)
	}

	out = newClient()
	r.Serve(get("/headers-only"), nil, out)
	if out.status != 200 || out.body || !out.finished {
		t.Errorf("headers only: status %d, body %v", out.status, out.body)
	}

	out = newClient()
	r.Serve(get("/panic"), nil, out)
	if out.status != 0 || out.aborted == "" {
		t.Errorf("panic: status %d, aborted %q", out.status, out.aborted)
	}
	if dials != 1 {
		t.Errorf("%d connections", dials)
	}
}
