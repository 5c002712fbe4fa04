//go:build go1.24

package unmodified

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/entry"
	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
	"github.com/serve-wasm/serve/guest-sdk/go/internal/relay"
	"github.com/serve-wasm/serve/guest-sdk/go/internal/wasihttp"
)

// startLimit is how long main may take until it listens: as long as Knative
// gives a container by default. The request that waits has a limit of its own.
const startLimit = 10 * time.Minute

// startPatience is how long it may take before that is said.
const startPatience = 10 * time.Second

func init() { entry.Fallback = connect }

func connect(stop <-chan struct{}) (entry.Server, error) {
	c, err := relay.Connect(dial, stop, startPatience)
	if err != nil && !errors.Is(err, relay.ErrStopped) {
		log.Printf("serve: no server listens on $PORT=%s after %v (%v); waiting for it", entry.Port(), startPatience, err)
		c, err = relay.Connect(dial, stop, startLimit-startPatience)
	}
	if err != nil {
		return nil, fmt.Errorf("no server listened on $PORT=%s within %v (%w)", entry.Port(), startLimit, err)
	}
	play := relay.New(dial, c).Serve
	if entry.HTTP2 && relay.OverHTTP2 != nil {
		c.Close()
		play = relay.OverHTTP2(dial)
	} else if entry.HTTP2 {
		log.Print("serve: SERVE_HTTP_PROTO=h2c, but the program was built without package unmodified/h2c: it gets HTTP/1.1")
	}
	return func(head *httpd.Head, body *wasihttp.Body, out *wasihttp.Outgoing) {
		var b httpd.Body
		if body != nil {
			b = body
		}
		play(head, b, out)
	}, nil
}
