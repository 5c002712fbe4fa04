//go:build go1.24

package httpd

import (
	"io"
	"log"
	"net/http"
	"runtime"
)

// Serve answers one request with a handler, in a goroutine of its own, and
// returns when the response has ended and the body is closed. body is nil when
// the request has none.
//
// A handler that panics is logged as net/http logs it, and its response aborted;
// one that panics with http.ErrAbortHandler or calls runtime.Goexit is only
// aborted.
func Serve(handler http.Handler, head *Head, body Body, exchange Exchange, http2 bool) {
	ctx := &requestContext{exchange: exchange}
	w := newResponse(exchange, ctx, head.Method)
	if body != nil {
		defer body.Close()
	}
	r, err := NewRequest(ctx, head, watched(body, ctx), http2)
	if err != nil {
		w.header.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusBadRequest)
		w.WriteString("400 Bad Request")
		w.finish()
		return
	}
	if head.Method == http.MethodOptions && head.Target == "*" {
		handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") })
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		returned := false
		defer func() {
			if returned {
				return
			}
			e := recover()
			if e != nil && e != http.ErrAbortHandler {
				stack := make([]byte, 64<<10)
				stack = stack[:runtime.Stack(stack, false)]
				log.Printf("http: panic serving %v: %v\n%s", r.RemoteAddr, e, stack)
			}
			ctx.cancel()
			w.abort("the handler panicked")
		}()
		handler.ServeHTTP(w, r)
		returned = true
		ctx.cancel()
		w.finish()
	}()
	<-done
}

// watchedBody cancels the request's context when the body fails.
type watchedBody struct {
	Body
	context *requestContext
}

func watched(body Body, ctx *requestContext) Body {
	if body == nil {
		return nil
	}
	return &watchedBody{body, ctx}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	if err != nil && err != io.EOF && err != http.ErrBodyReadAfterClose {
		b.context.cancel()
	}
	return n, err
}
