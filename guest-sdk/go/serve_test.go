package serve

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// freePort is one that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

func get(t *testing.T, url string, failed <-chan error) string {
	t.Helper()
	for {
		resp, err := http.Get(url)
		if err != nil {
			select {
			case err := <-failed:
				t.Fatal(err)
			default:
				continue // not listening yet
			}
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
}

func TestServesNativelyOnPort(t *testing.T) {
	port := freePort(t)
	t.Setenv("PORT", port)
	failed := make(chan error, 1)
	go func() {
		failed <- Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "native") }))
	}()
	if got := get(t, "http://127.0.0.1:"+port, failed); got != "native" {
		t.Errorf("got %q", got)
	}
}

func TestNilHandlerIsTheDefaultServeMux(t *testing.T) {
	http.HandleFunc("/default-mux", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "default") })
	addr := "127.0.0.1:" + freePort(t)
	failed := make(chan error, 1)
	go func() { failed <- ListenAndServe(addr, nil) }()
	if got := get(t, "http://"+addr+"/default-mux", failed); got != "default" {
		t.Errorf("got %q", got)
	}
}

func TestListenErrorIsReturned(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := ListenAndServe(l.Addr().String(), nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}
