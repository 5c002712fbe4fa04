//go:build go1.24

package unmodified

import (
	"fmt"
	"log"
	"time"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/entry"
	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
	"github.com/serve-wasm/serve/guest-sdk/go/internal/relay"
	"github.com/serve-wasm/serve/guest-sdk/go/internal/wasihttp"
)

// startLimit is how long main may take until it listens.
const startLimit = 10 * time.Second

func init() { entry.Fallback = connect }

func connect(stop <-chan struct{}) (entry.Server, error) {
	c, err := relay.Connect(dial, stop, startLimit)
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
