//go:build go1.24

package wasihttp

import (
	"errors"
	"io"
	"net/http"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
)

var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// TakeRequest reads the head of a request, drops the request's handle and keeps
// the body, which streams. The caller closes the body in the end: it is nil only
// when the request has none.
func TakeRequest(h uint32) (httpd.Head, *Body) {
	var method, path, authority span
	var head httpd.Head

	hold()
	requestMethod(h, retAt())
	if d := int(retU8(0)); d < len(methods) {
		head.Method = methods[d]
	} else {
		method = retSpan(4)
	}
	requestPath(h, retAt())
	hasPath := retU8(0) != 0
	if hasPath {
		path = retSpan(4)
	}
	requestAuthority(h, retAt())
	if retU8(0) != 0 {
		authority = retSpan(4)
	}
	headers := requestHeaders(h)
	fieldsEntries(headers, retAt())
	list := retSpan(0)
	// From here on Go may allocate.
	if head.Method == "" {
		head.Method = string(method.bytes())
	}
	if hasPath {
		head.Target = string(path.bytes())
	} else {
		head.Target = "/"
	}
	head.Authority = string(authority.bytes())
	head.Fields = readEntries(list)
	release()
	fieldsDrop(headers)

	var body *Body
	length, known := head.ContentLength()
	if !known || length != 0 {
		body = takeBody(h)
	}
	requestDrop(h)
	if body != nil && !known && body.ended() {
		body.Close()
		body = nil
	}
	return head, body
}

func takeBody(request uint32) *Body {
	requestConsume(request, retAt())
	if retU8(0) != 0 {
		return nil
	}
	b := &Body{body: retU32(4)}
	inBodyStream(b.body, retAt())
	if retU8(0) != 0 {
		inBodyDrop(b.body)
		return nil
	}
	b.stream = retU32(4)
	return b
}

// Body is a request's body. One goroutine reads at a time; any may close.
type Body struct {
	body, stream uint32 // 0 when gone
	trailers     uint32 // future-trailers, 0 before the end and after it
	pollable     uint32 // of the stream, then of the trailers; made when first needed
	waiter       waiter
	reading      bool
	err          error // what every later Read says
	atEnd        func(trailers []httpd.Field)
}

var errBody = errors.New("serve: request body: the client went away or sent a malformed body")

// readMax bounds one read. The host would allocate more in one piece.
const readMax = 64 << 10

// OnEnd sets what is called with the trailers (often none) before a Read says
// io.EOF. It is not called when the body fails or is closed early.
func (b *Body) OnEnd(f func(trailers []httpd.Field)) { b.atEnd = f }

// Read implements io.Reader. It does not block other goroutines.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.reading {
		return 0, errors.New("serve: request body: concurrent read")
	}
	b.reading = true
	defer func() { b.reading = false }()
	if len(p) > readMax {
		p = p[:readMax]
	}
	for {
		n, state := b.poll(p)
		switch {
		case state == streamFailed:
			return 0, b.fail(errBody)
		case state == streamEnded:
			return 0, b.finish()
		case n > 0:
			return n, nil
		}
		if b.pollable == 0 {
			b.pollable = inSubscribe(b.stream)
		}
		b.waiter.park(b.pollable)
		if b.err != nil {
			return 0, b.err
		}
	}
}

type streamState uint8

const (
	streamOpen streamState = iota
	streamEnded
	streamFailed
)

// poll reads what is there, perhaps nothing.
func (b *Body) poll(p []byte) (int, streamState) {
	expect(p)
	hold()
	inRead(b.stream, uint64(len(p)), retAt())
	failed, list := retU8(0) != 0, retSpan(4)
	unexpect()
	if failed {
		closed, e := retU8(4) == 1, retU32(8)
		release()
		if closed {
			return 0, streamEnded
		}
		errorDrop(e)
		return 0, streamFailed
	}
	n := int(list.size)
	if n > 0 && &list.bytes()[0] != &p[0] {
		n = copy(p, list.bytes())
	}
	release()
	return n, streamOpen
}

// ended tells whether the body is over before anything was read.
func (b *Body) ended() bool {
	hold()
	inRead(b.stream, 0, retAt())
	failed, closed, e := retU8(0) != 0, retU8(4) == 1, retU32(8)
	release()
	if failed && !closed {
		errorDrop(e)
		b.fail(errBody)
	}
	return failed && closed
}

// fail ends the body early.
func (b *Body) fail(err error) error {
	if b.err == nil {
		b.err = err
	}
	b.drop()
	return b.err
}

func (b *Body) drop() {
	b.waiter.cut()
	if b.pollable != 0 {
		pollableDrop(b.pollable)
		b.pollable = 0
	}
	if b.stream != 0 {
		inDrop(b.stream)
		b.stream = 0
	}
	if b.trailers != 0 {
		trailersDrop(b.trailers)
		b.trailers = 0
	}
	if b.body != 0 {
		inBodyDrop(b.body)
		b.body = 0
	}
}

// finish fetches the trailers after the last byte.
func (b *Body) finish() error {
	if b.pollable != 0 {
		pollableDrop(b.pollable)
		b.pollable = 0
	}
	inDrop(b.stream)
	b.stream = 0
	b.trailers = inBodyFinish(b.body)
	b.body = 0
	b.pollable = trailersSubscribe(b.trailers)
	for pollableReady(b.pollable) == 0 {
		b.waiter.park(b.pollable)
		if b.err != nil { // closed meanwhile
			return b.err
		}
	}
	// option<result<result<option<trailers>, error-code>>>, each payload aligned to 8
	hold()
	trailersGet(b.trailers, retAt())
	got := retU8(0) == 1 && retU8(8) == 0
	failed := got && retU8(16) == 1
	some := got && !failed && retU8(24) == 1
	fields := retU32(28)
	release()
	b.drop()
	b.err = io.EOF
	if failed {
		b.err = errBody
		return b.err
	}
	var trailers []httpd.Field
	if some {
		trailers = takeFields(fields)
	}
	if b.atEnd != nil {
		b.atEnd(trailers)
	}
	return io.EOF
}

// Close gives the body back to the host. Reads that wait end with an error.
func (b *Body) Close() error {
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	b.drop()
	return nil
}
