//go:build go1.24

package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
)

func TestLocalhostIsLoopbackAndNothingElseExists(t *testing.T) {
	var r net.Resolver
	Install(&r)
	got, err := r.LookupNetIP(context.Background(), "ip4", "localhost")
	loopback := func(a netip.Addr) bool { return a.Unmap() == netip.MustParseAddr("127.0.0.1") }
	if err != nil || !slices.ContainsFunc(got, loopback) {
		t.Errorf("localhost: got %v, %v", got, err)
	}
	for _, name := range []string{"example.com", "localhost.example.com.", "x.localhost."} {
		got, err := r.LookupHost(context.Background(), name)
		var dns *net.DNSError
		if !errors.As(err, &dns) || !dns.IsNotFound {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func TestAnswer(t *testing.T) {
	header := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	cases := []struct{ name, query, want string }{
		{"address of localhost", header + "\x09localhost\x00\x00\x01\x00\x01",
			"\x12\x34\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"},
		{"IPv6 address of localhost", header + "\x09LocalHost\x00\x00\x1c\x00\x01",
			"\x12\x34\x85\x80\x00\x01\x00\x00\x00\x00\x00\x00\x09LocalHost\x00\x00\x1c\x00\x01"},
		{"another name", header + "\x01a\x01b\x00\x00\x01\x00\x01",
			"\x12\x34\x85\x83\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x01b\x00\x00\x01\x00\x01"},
		{"short", "\x12\x34", ""},
		{"no question", "\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		{"name without end", header + "\x09local", ""},
		{"name without type", header + "\x01a\x00\x00\x01", ""},
		{"pointer in the question", header + "\xc0\x0c\x00\x01\x00\x01", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := string(answer([]byte(c.query))); got != c.want {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}
