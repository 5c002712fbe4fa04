//go:build go1.24

package entry

import (
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
	"github.com/serve-wasm/serve/guest-sdk/go/internal/names"
	"github.com/serve-wasm/serve/guest-sdk/go/internal/wasihttp"
)

// Built as a library, Go initialises the packages and does not call main; this
// is it.
//
//go:linkname mainMain main.main
func mainMain()

// Server answers one request. It closes the body and ends the response.
type Server func(head *httpd.Head, body *wasihttp.Body, out *wasihttp.Outgoing)

// Fallback serves programs that do not register a handler. It is called while
// the program starts, in the request's goroutine, and returns when the program
// can be reached, cannot be in time, or stop is closed. Set it in init.
var Fallback func(stop <-chan struct{}) (Server, error)

// HTTP2 is set where the host's port is named h2c: the program expects HTTP/2.
var HTTP2 = os.Getenv("SERVE_HTTP_PROTO") == "h2c"

var (
	started bool
	server  Server // once known
	matched bool   // server was registered for $PORT

	registered   = make(chan struct{}) // closed by the first Register
	mainReturned = make(chan struct{})
	stop         = make(chan struct{}) // closed by either
	stopOnce     sync.Once
)

func init() { names.Install(net.DefaultResolver) }

// Port is where a container would listen.
func Port() string {
	if p := os.Getenv("PORT"); p != "" {
		return p
	}
	return "8080"
}

// Register makes a handler answer the requests from now on. Of several, the one
// whose address has the port that the host sends requests to, else the first.
func Register(addr string, h http.Handler) {
	_, port, _ := net.SplitHostPort(addr)
	match := port == Port()
	if server != nil && (matched || !match) {
		log.Printf("serve: %q gets no requests: the host sends them to port %s", addr, Port())
		return
	}
	first := server == nil
	matched = match
	server = func(head *httpd.Head, body *wasihttp.Body, out *wasihttp.Outgoing) {
		var b httpd.Body
		if body != nil {
			b = body
		}
		httpd.Serve(h, head, b, out, HTTP2)
	}
	if first {
		close(registered)
		stopOnce.Do(func() { close(stop) })
	}
}

//go:wasmexport wasi:http/incoming-handler@0.2.0#handle
func handle(request, param uint32) {
	head, body := wasihttp.TakeRequest(request)
	out := wasihttp.NewOutgoing(param)
	if serve := ready(); serve != nil {
		serve(&head, body, out)
	} else {
		if body != nil {
			body.Close()
		}
		out.Abort("the program does not serve")
	}
	// Nothing runs between requests: let what became ready run now.
	runtime.Gosched()
}

// ready starts the program if need be and waits until it serves. It returns nil,
// and says why on stderr, when it does not.
func ready() Server {
	if !started {
		started = true
		stayAwake()
		if len(os.Args) == 0 { // a host need not pass any, but flag.Parse skips the first
			os.Args = []string{"main"}
		}
		go func() {
			mainMain()
			close(mainReturned)
			stopOnce.Do(func() { close(stop) })
		}()
	}
	select {
	case <-mainReturned:
		log.Print("serve: main returned; as a process the program would have ended")
		return nil
	default:
	}
	if server != nil {
		return server
	}
	var fallback Server
	var err error
	if Fallback != nil {
		fallback, err = Fallback(stop)
	} else {
		<-stop
	}
	select {
	case <-registered:
		return server
	case <-mainReturned:
		log.Print("serve: main returned without serving")
		return nil
	default:
	}
	if err != nil {
		log.Print("serve: ", err)
		return nil
	}
	server = fallback
	return server
}

// stayAwake keeps a timer pending for good. Without any, Go ends the program
// ("all goroutines are asleep") when a handler waits for something that only the
// host can bring, such as the end of the request.
func stayAwake() { time.AfterFunc(24*time.Hour, stayAwake) }
