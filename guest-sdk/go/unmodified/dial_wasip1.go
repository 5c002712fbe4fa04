//go:build go1.24

package unmodified

import (
	"net"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/entry"
)

// Go's network on wasip1 finds a listener by the very address it was given, not
// by its port: a server on 0.0.0.0:8080 is not at 127.0.0.1:8080. So each of the
// ways to name this machine is tried. A program that gives no host (":8080") is
// at the first.
var hosts = [...]net.IP{
	net.IPv4(127, 0, 0, 1),
	net.IPv4(0, 0, 0, 0),
	net.ParseIP("::"),
	net.ParseIP("::1"),
}

var found = -1 // the index in hosts that answered

func dial() (net.Conn, error) {
	port, err := net.LookupPort("tcp", entry.Port())
	if err != nil {
		return nil, err
	}
	if found >= 0 {
		return dialHost(hosts[found], port)
	}
	for i, ip := range hosts {
		c, e := dialHost(ip, port)
		if e == nil {
			found = i
			return c, nil
		}
		if err == nil {
			err = e
		}
	}
	return nil, err
}

// dialHost connects without the rule that an unspecified address means loopback.
// Package net compares with its two exported variables to apply it; there is one
// thread, and nobody else looks at them meanwhile.
func dialHost(ip net.IP, port int) (net.Conn, error) {
	v4, v6 := net.IPv4zero, net.IPv6unspecified
	net.IPv4zero, net.IPv6unspecified = nil, nil
	defer func() { net.IPv4zero, net.IPv6unspecified = v4, v6 }()
	c, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: ip, Port: port})
	if err != nil {
		return nil, err
	}
	return c, nil
}
