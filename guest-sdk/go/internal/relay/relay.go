//go:build go1.24

// Package relay plays requests to an HTTP/1.1 server over connections that stay
// inside the program, and passes its answers on unchanged.
//
// Input: a request's head and body. Output: calls of an httpd.Exchange. Not
// net/http's client: that adds and changes header fields, follows its own ideas
// of which bodies a method may have, and is 2 MB of code.
package relay

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
)

// Relay sends requests to the connections that dial makes. It is used by one
// request at a time.
type Relay struct {
	dial func() (net.Conn, error)
	idle *conn
}

// New makes a relay whose first connection is c.
func New(dial func() (net.Conn, error), c net.Conn) *Relay {
	return &Relay{dial: dial, idle: newConn(c)}
}

type conn struct {
	net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	since time.Time // when it became idle
}

// A connection idle for longer is not used again: the server may be about to
// close it, and a request must not be sent twice to find out.
const maxIdle = 100 * time.Millisecond

// lookEvery bounds how late a server that only waits learns that the client is
// gone. A host gives it 50 ms to end.
const lookEvery = 20 * time.Millisecond

// Serve plays one request and returns when its response has ended. It closes the
// body, which is nil when there is none.
func (r *Relay) Serve(head *httpd.Head, body httpd.Body, out httpd.Exchange) {
	c, err := r.take()
	if err != nil {
		if body != nil {
			body.Close()
		}
		log.Printf("serve: %v", err)
		out.Abort("the program does not accept connections")
		return
	}
	x := &exchange{conn: c, head: head, body: body, out: out}
	if x.run() {
		c.since = time.Now()
		r.idle = c
	} else {
		c.Close()
	}
}

func (r *Relay) take() (*conn, error) {
	if c := r.idle; c != nil {
		r.idle = nil
		if time.Since(c.since) < maxIdle {
			return c, nil
		}
		c.Close()
	}
	n, err := r.dial()
	if err != nil {
		return nil, err
	}
	return newConn(n), nil
}

func newConn(c net.Conn) *conn {
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 4<<10), w: bufio.NewWriterSize(c, 4<<10), since: time.Now()}
}

// exchange is one request and its response on a connection.
type exchange struct {
	*conn
	head *httpd.Head
	body httpd.Body
	out  httpd.Exchange

	chunked  bool
	bodySent chan struct{} // closed when the body was sent or given up
	sentAll  bool          // valid after bodySent
}

// run reports whether the connection can be used again.
func (x *exchange) run() (again bool) {
	x.writeHead()
	if x.body == nil {
		x.sentAll = x.w.Flush() == nil
	} else {
		x.bodySent = make(chan struct{})
		go x.sendBody()
	}
	again = x.respond()
	if x.body != nil {
		// The client may still be sending to a server that has answered.
		x.body.Close()
		if !again {
			x.Conn.Close()
		}
		<-x.bodySent
	}
	return again && x.sentAll
}

func (x *exchange) writeHead() {
	w := x.w
	w.WriteString(x.head.Method)
	w.WriteByte(' ')
	w.WriteString(x.head.Target)
	w.WriteString(" HTTP/1.1\r\nHost: ")
	w.WriteString(x.head.Authority)
	w.WriteString("\r\n")
	_, known := x.head.ContentLength()
	for _, f := range x.head.Fields {
		if !httpd.HopByHop(f.Name) {
			w.WriteString(f.Name)
			w.WriteString(": ")
			w.WriteString(f.Value)
			w.WriteString("\r\n")
		}
	}
	if x.body != nil && !known {
		x.chunked = true
		w.WriteString("Transfer-Encoding: chunked\r\n")
	}
	w.WriteString("\r\n")
}

// sendBody copies the body as it comes. When it fails, the connection is closed,
// by which the server learns that the client is gone.
func (x *exchange) sendBody() {
	defer close(x.bodySent)
	var trailers []httpd.Field
	x.body.OnEnd(func(t []httpd.Field) { trailers = t })
	if x.w.Flush() != nil { // the handler may look at the head while the body is slow
		return
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := x.body.Read(buf)
		if n > 0 {
			if x.chunked {
				x.w.WriteString(strconv.FormatInt(int64(n), 16))
				x.w.WriteString("\r\n")
			}
			x.w.Write(buf[:n])
			if x.chunked {
				x.w.WriteString("\r\n")
			}
			if x.w.Flush() != nil {
				return
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			if err != http.ErrBodyReadAfterClose {
				x.Conn.Close()
			}
			return
		}
	}
	if x.chunked {
		x.w.WriteString("0\r\n")
		for _, f := range trailers {
			x.w.WriteString(f.Name + ": " + f.Value + "\r\n")
		}
		x.w.WriteString("\r\n")
	}
	x.sentAll = x.w.Flush() == nil
}

// respond reads the answer and passes it on. It reports whether the server left
// the connection open and in order.
func (x *exchange) respond() bool {
	request := http.Request{Method: x.head.Method}
	var resp *http.Response
	for {
		var err error
		if resp, err = http.ReadResponse(x.r, &request); err != nil {
			// net/http logged why, if there is a why.
			x.out.Abort("the program closed the connection without an answer")
			return false
		}
		if resp.StatusCode > 199 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	defer resp.Body.Close()
	bodyless := request.Method == http.MethodHead || resp.StatusCode < 200 ||
		resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	if err := x.out.Respond(resp.StatusCode, fields(resp), !bodyless); err != nil {
		x.out.Abort(err.Error())
		return false
	}
	if bodyless {
		x.out.Finish(nil)
		return !resp.Close
	}
	if resp.ContentLength < 0 || int64(x.r.Buffered()) < resp.ContentLength {
		stop := watch(x.out, func() { x.Conn.Close() })
		defer stop()
	}
	if err := copyBody(resp.Body, x.out, func() bool { return x.r.Buffered() == 0 }); err != nil {
		x.out.Abort("the program ended its answer early")
		return false
	}
	x.out.Finish(trailers(resp))
	return !resp.Close
}

// copyBody passes each piece on as it comes, and flushes when nothing more is at
// hand.
func copyBody(body io.Reader, out httpd.Exchange, idle func() bool) error {
	var small [2 << 10]byte
	buf := small[:]
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := out.Write(buf[:n]); werr != nil {
				return werr
			}
			if idle() {
				if werr := out.Flush(); werr != nil {
					return werr
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n == len(buf) && len(buf) < 32<<10 {
			buf = make([]byte, 32<<10)
		}
	}
}

// watch calls leave when the client goes away, until stop is called.
func watch(out httpd.Exchange, leave func()) (stop func() bool) {
	var t *time.Timer
	t = time.AfterFunc(lookEvery, func() {
		if out.Gone() {
			leave()
			return
		}
		t.Reset(lookEvery)
	})
	return t.Stop
}

// fields lists the headers as the server sent them, sorted by name, with the
// announcement of trailers that package net/http takes out.
func fields(resp *http.Response) []httpd.Field {
	list := make([]httpd.Field, 0, len(resp.Header)+1)
	for name, values := range resp.Header {
		for _, v := range values {
			list = append(list, httpd.Field{Name: name, Value: v})
		}
	}
	if len(resp.Trailer) > 0 {
		names := make([]string, 0, len(resp.Trailer))
		for name := range resp.Trailer {
			names = append(names, name)
		}
		slices.Sort(names)
		list = append(list, httpd.Field{Name: "Trailer", Value: strings.Join(names, ", ")})
	}
	slices.SortStableFunc(list, func(a, b httpd.Field) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func trailers(resp *http.Response) []httpd.Field {
	var list []httpd.Field
	for name, values := range resp.Trailer {
		for _, v := range values {
			list = append(list, httpd.Field{Name: name, Value: v})
		}
	}
	slices.SortStableFunc(list, func(a, b httpd.Field) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// ErrStopped is returned by Connect when stop was closed first.
var ErrStopped = errors.New("stopped")

// Connect calls dial until it succeeds, for at most the given time: often at
// first, as a server that is about to listen does so within microseconds.
func Connect(dial func() (net.Conn, error), stop <-chan struct{}, within time.Duration) (net.Conn, error) {
	deadline := time.Now().Add(within)
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		c, err := dial()
		if err == nil {
			return c, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-stop:
			return nil, ErrStopped
		case <-time.After(pause):
		}
	}
}
