//go:build go1.24

package wasihttp

import (
	"errors"
	"unsafe"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
)

// Outgoing is the response to one request.
//
//	NewOutgoing -> Respond -> Write* -> Finish
//	     |                       |
//	     +-------> Abort <-------+
//
// It implements httpd.Exchange.
type Outgoing struct {
	param        uint32 // response-outparam, 0 when used
	body, stream uint32 // 0 when gone
	pollable     uint32
	waiter       waiter
	failed       error // what every later Write says
}

var (
	errGone  = errors.New("serve: response: the client went away")
	errEnded = errors.New("serve: response: written after its end")
)

// NewOutgoing wraps the response-outparam that handle was called with.
func NewOutgoing(param uint32) *Outgoing { return &Outgoing{param: param} }

// Respond sends status and headers. Without a body the response ends here as
// well, whatever its Content-Length says, as the answer to HEAD needs it.
func (o *Outgoing) Respond(status int, fields []httpd.Field, body bool) error {
	if o.param == 0 {
		return errEnded
	}
	r := responseNew(newFields(fields))
	responseSetStatus(r, uint32(status))
	if body {
		responseBody(r, retAt())
		if retU8(0) == 0 {
			o.body = retU32(4)
			outBodyWrite(o.body, retAt())
			o.stream = retU32(4)
		} else {
			o.failed = errors.New("serve: response: the host refused its Content-Length")
		}
	}
	param := o.param
	o.param = 0
	outparamSet(param, 0, r, 0, 0, 0, 0, 0, 0)
	return o.failed
}

// Write sends all of p. It waits while the client is slow, without blocking
// other goroutines.
func (o *Outgoing) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		n, err := o.room()
		if err != nil {
			return total, err
		}
		if n == 0 {
			if o.pollable == 0 {
				o.pollable = outSubscribe(o.stream)
			}
			o.waiter.park(o.pollable)
			continue
		}
		n = min(n, len(p))
		outWrite(o.stream, unsafe.Pointer(unsafe.SliceData(p)), uint32(n), retAt())
		if retU8(0) != 0 {
			return total, o.streamError(4)
		}
		p, total = p[n:], total+n
	}
	return total, nil
}

// room asks how much may be written now.
func (o *Outgoing) room() (int, error) {
	if o.failed != nil {
		return 0, o.failed
	}
	if o.stream == 0 {
		return 0, errEnded
	}
	outCheckWrite(o.stream, retAt())
	if retU8(0) != 0 {
		return 0, o.streamError(8)
	}
	return int(min(retU64(8), 1<<30)), nil
}

// streamError takes the stream-error at an offset of ret: 8 in the result of
// check-write, which is aligned for a u64, else 4.
func (o *Outgoing) streamError(offset int) error {
	if retU8(offset) == 0 { // last-operation-failed(error)
		errorDrop(retU32(offset + 4))
	}
	o.failed = errGone
	return o.failed
}

// Flush asks the host to send what it has.
func (o *Outgoing) Flush() error {
	if o.failed != nil || o.stream == 0 {
		return o.failed
	}
	outFlush(o.stream, retAt())
	if retU8(0) != 0 {
		return o.streamError(4)
	}
	return nil
}

// Gone tells whether the client went away. Before Respond nobody knows.
func (o *Outgoing) Gone() bool {
	if o.stream == 0 && o.failed == nil {
		return false
	}
	_, err := o.room()
	return err != nil
}

// Finish ends the body, with trailers if there are any.
func (o *Outgoing) Finish(trailers []httpd.Field) error {
	if o.param != 0 {
		return errors.New("serve: response: finished before it began")
	}
	o.dropStream()
	if o.body == 0 {
		return o.failed
	}
	has, h := uint32(0), uint32(0)
	if len(trailers) > 0 {
		has, h = 1, newFields(trailers)
	}
	body := o.body
	o.body = 0
	hold()
	outBodyFinish(body, has, h, retAt())
	failed := retU8(0) != 0
	release()
	if failed && o.failed == nil {
		o.failed = errors.New("serve: response: its body does not have the length that Content-Length says")
	}
	return o.failed
}

// Abort gives up: the host answers 500 if nothing was sent, else it cuts the
// response short such that the client can tell.
func (o *Outgoing) Abort(reason string) {
	if o.failed == nil {
		o.failed = errEnded
	}
	if o.param != 0 {
		const internalError = 38 // the case of error-code with option<string>
		param := o.param
		o.param = 0
		outparamSet(param, 1, internalError, 1, uint64(uintptr(unsafe.Pointer(unsafe.StringData(reason)))), uint32(len(reason)), 0, 0, 0)
	}
	o.dropStream()
	if o.body != 0 {
		outBodyDrop(o.body)
		o.body = 0
	}
}

func (o *Outgoing) dropStream() {
	if o.stream == 0 {
		return
	}
	o.waiter.cut() // finds stream gone when it runs
	if o.pollable != 0 {
		pollableDrop(o.pollable)
		o.pollable = 0
	}
	outDrop(o.stream)
	o.stream = 0
}
