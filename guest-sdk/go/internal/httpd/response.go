//go:build go1.24

package httpd

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/textproto"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Exchange is where a response goes.
type Exchange interface {
	// Respond sends status and headers; called once. Without body, nothing
	// follows, whatever Content-Length says.
	Respond(status int, fields []Field, body bool) error
	// Write sends a piece of the body, all of it or an error.
	Write(p []byte) (int, error)
	// Flush makes the host send what it has.
	Flush() error
	// Finish ends the response.
	Finish(trailers []Field) error
	// Abort ends it such that the client sees a failure.
	Abort(reason string)
	// Gone tells whether the client is known to have left.
	Gone() bool
}

// response is an http.ResponseWriter with the behaviour of net/http's: headers
// are fixed by WriteHeader, the first Write that comes without it means 200, a
// body that ends within the buffer gets a Content-Length, the type is sniffed.
//
// Source: net/http server.go, response and chunkWriter. Differs: no Hijack, no
// deadlines, interim responses are dropped, Date and Connection are the host's.
// The request's body is not read to its end before the response starts, since
// the host reads both ways at once.
type response struct {
	exchange Exchange
	context  *requestContext
	head     bool // the request is HEAD
	empty    bool // the handler is done and left nothing to send after the headers

	header        http.Header // the handler's
	status        int
	wroteHeader   bool
	fields        []Field // header as it was at WriteHeader
	announced     []string
	hasTrailers   bool
	contentLength int64 // declared, or -1
	badLength     bool  // declared wrongly: then none is computed either
	written       int64 // by the handler, sent or not
	sniff         bool  // no Content-Type and no Content-Encoding

	buf  []byte // nil after the handler returned
	sent bool   // Respond was called
	err  error  // of the exchange
}

// bufferSize is net/http's: the longest body that gets a Content-Length by
// itself, and how much collects before it is sent without Flush.
const bufferSize = 2048

var (
	buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}
	copies  = sync.Pool{New: func() any { return new([32 << 10]byte) }}
)

func newResponse(e Exchange, c *requestContext, method string) *response {
	return &response{
		exchange: e, context: c, head: method == http.MethodHead,
		header: make(http.Header), contentLength: -1,
		buf: buffers.Get().(*[bufferSize]byte)[:0],
	}
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(code int) {
	if w.wroteHeader {
		f := caller()
		log.Printf("http: superfluous response.WriteHeader call from %s (%s:%d)", f.Function, path.Base(f.File), f.Line)
		return
	}
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", code))
	}
	if code <= 199 && code != http.StatusSwitchingProtocols {
		return // the world has no interim responses
	}
	w.wroteHeader = true
	w.status = code
	if cl, ok := w.header["Content-Length"]; ok && len(cl) > 0 && cl[0] != "" {
		if n, err := strconv.ParseInt(cl[0], 10, 64); err == nil && n >= 0 {
			w.contentLength = n
		} else {
			log.Printf("http: invalid Content-Length of %q", cl[0])
			delete(w.header, "Content-Length")
			w.badLength = true
		}
	}
	w.snapshot()
}

// snapshot fixes the header fields, sorted as net/http sends them.
func (w *response) snapshot() {
	fields := make([]Field, 0, len(w.header)+2)
	for name, values := range w.header {
		switch {
		case strings.HasPrefix(name, http.TrailerPrefix):
			w.hasTrailers = true
			continue
		case name == "Trailer":
			w.hasTrailers = true
			w.announce(values)
		case !bodyAllowed(w.status) && suppressed(w.status, name):
			continue
		case !validName(name):
			continue
		}
		for _, v := range values {
			fields = append(fields, Field{name, cleanValue(v)})
		}
	}
	slices.SortStableFunc(fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	w.fields = fields
	_, hasType := w.header["Content-Type"]
	w.sniff = !hasType && w.header.Get("Content-Encoding") == ""
}

func (w *response) announce(lists []string) {
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
			if ValidTrailer(name) && !slices.Contains(w.announced, name) {
				w.announced = append(w.announced, name)
			}
		}
	}
}

func (w *response) Write(p []byte) (int, error) {
	if err := w.admit(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	if len(w.buf)+len(p) <= cap(w.buf) {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	return write(w, p)
}

func (w *response) WriteString(s string) (int, error) {
	if err := w.admit(len(s)); err != nil || len(s) == 0 {
		return 0, err
	}
	if len(w.buf)+len(s) <= cap(w.buf) {
		w.buf = append(w.buf, s...)
		return len(s), nil
	}
	return write(w, []byte(s))
}

// admit is what comes before each write, empty ones too.
func (w *response) admit(n int) error {
	if w.buf == nil {
		return errAfterHandler
	}
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	if n == 0 {
		return nil
	}
	if !bodyAllowed(w.status) {
		return http.ErrBodyNotAllowed
	}
	w.written += int64(n)
	if w.contentLength != -1 && w.written > w.contentLength {
		return http.ErrContentLength
	}
	return nil
}

var errAfterHandler = fmt.Errorf("serve: response written after its handler returned: %w", http.ErrHandlerTimeout)

// write sends what does not fit the buffer. As bufio.Writer does, it fills the
// buffer once something is in it, so that the type is sniffed from enough.
func write(w *response, p []byte) (int, error) {
	total := len(p)
	if n := cap(w.buf) - len(w.buf); len(w.buf) > 0 {
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if err := w.drain(); err != nil {
			return n, err
		}
	}
	if len(p) >= cap(w.buf) {
		if err := w.send(p); err != nil {
			return total - len(p), err
		}
		return total, nil
	}
	w.buf = append(w.buf, p...)
	return total, nil
}

// ReadFrom implements io.ReaderFrom with a buffer that requests share.
func (w *response) ReadFrom(r io.Reader) (n int64, err error) {
	buf := copies.Get().(*[32 << 10]byte)
	defer copies.Put(buf)
	for {
		m, rerr := r.Read(buf[:])
		if m > 0 {
			k, werr := w.Write(buf[:m])
			n += int64(k)
			if werr != nil {
				return n, werr
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController looks for.
func (w *response) FlushError() error {
	if w.buf == nil {
		return errAfterHandler
	}
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	if err := w.drain(); err != nil {
		return err
	}
	if !w.sent {
		w.respond(nil, false)
	}
	if w.err == nil && !w.bodyless() {
		w.fail(w.exchange.Flush())
	}
	return w.err
}

// EnableFullDuplex is what http.ResponseController looks for. It always is.
func (w *response) EnableFullDuplex() error { return nil }

func (w *response) drain() error {
	if len(w.buf) == 0 {
		return w.err
	}
	err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

// send passes body bytes on, after the headers.
func (w *response) send(p []byte) error {
	if !w.sent {
		w.respond(p, false)
	}
	if w.err != nil || w.head {
		return w.err
	}
	_, err := w.exchange.Write(p)
	w.fail(err)
	return w.err
}

// respond sends the headers. first is the start of the body; last says that it
// is all of it.
func (w *response) respond(first []byte, last bool) {
	w.sent = true
	if last && !w.hasTrailers && w.contentLength == -1 && !w.badLength && bodyAllowed(w.status) && (!w.head || len(first) > 0) {
		w.contentLength = int64(len(first))
		w.fields = append(w.fields, Field{"Content-Length", strconv.Itoa(len(first))})
	}
	if w.sniff && len(first) > 0 {
		w.fields = append(w.fields, Field{"Content-Type", http.DetectContentType(first)})
	}
	w.fail(w.exchange.Respond(w.status, w.fields, !w.bodyless()))
}

func (w *response) fail(err error) {
	if err != nil && w.err == nil {
		w.err = err
		w.context.cancel()
	}
}

func (w *response) bodyless() bool { return w.head || w.empty || !bodyAllowed(w.status) }

// finish ends the response after the handler returned.
func (w *response) finish() {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	trailers := w.trailers()
	if !w.sent {
		// Without a body the host can end the response with its headers.
		w.empty = len(w.buf) == 0 && len(trailers) == 0 && w.contentLength <= 0
		w.respond(w.buf, true)
	}
	if len(w.buf) > 0 && w.err == nil && !w.bodyless() {
		_, err := w.exchange.Write(w.buf)
		w.fail(err)
	}
	w.retire()
	switch {
	case w.bodyless():
		w.exchange.Finish(nil)
	case w.contentLength != -1 && w.written < w.contentLength:
		// net/http closes the connection, so that the client sees the gap.
		w.exchange.Abort("the handler wrote less than its Content-Length")
	default:
		w.exchange.Finish(trailers)
	}
}

// abort ends the response after the handler panicked.
func (w *response) abort(reason string) {
	w.retire()
	w.exchange.Abort(reason)
}

// retire makes later writes fail and lets the next request have the buffer.
func (w *response) retire() {
	if w.buf != nil {
		buffers.Put((*[bufferSize]byte)(w.buf[:bufferSize]))
		w.buf = nil
	}
}

func (w *response) trailers() []Field {
	var fields []Field
	for name, values := range w.header {
		if prefixed, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			name = textproto.CanonicalMIMEHeaderKey(prefixed)
		} else if !slices.Contains(w.announced, name) {
			continue
		}
		if !ValidTrailer(name) || !validName(name) {
			continue
		}
		for _, v := range values {
			fields = append(fields, Field{name, cleanValue(v)})
		}
	}
	slices.SortStableFunc(fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return fields
}

func bodyAllowed(status int) bool {
	return status > 199 && status != http.StatusNoContent && status != http.StatusNotModified
}

// suppressed tells which fields net/http leaves out of a response without body.
func suppressed(status int, name string) bool {
	switch name {
	case "Content-Type":
		return status == http.StatusNotModified
	case "Content-Length", "Transfer-Encoding":
		return true
	}
	return false
}

var newlineToSpace = strings.NewReplacer("\n", " ", "\r", " ")

func cleanValue(v string) string {
	if strings.ContainsAny(v, "\r\n") {
		v = newlineToSpace.Replace(v)
	}
	return textproto.TrimString(v)
}

func validName(name string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c >= 0x7f || c <= ' ' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return true
}

// caller is the function that called this writer, behind wrappers of net/http.
func caller() runtime.Frame {
	pc := make([]uintptr, 16)
	frames := runtime.CallersFrames(pc[:runtime.Callers(2, pc)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "net/http.") && !strings.Contains(f.Function, "/internal/httpd.(*response).") || !more {
			return f
		}
	}
}
