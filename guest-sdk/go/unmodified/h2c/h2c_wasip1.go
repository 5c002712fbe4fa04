//go:build go1.24

package h2c

import (
	"net"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/relay"
	_ "github.com/serve-wasm/serve/guest-sdk/go/unmodified"
)

func init() {
	relay.OverHTTP2 = func(dial func() (net.Conn, error)) relay.Play { return relay.NewHTTP2(dial).Serve }
}
