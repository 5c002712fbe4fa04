//go:build go1.24

package httpd

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// requestContext is cancelled when the handler returns, a write fails, the body
// fails, or, once somebody waits for it, a look at the response stream shows
// that the client went away.
type requestContext struct {
	exchange Exchange

	mu    sync.Mutex
	done  chan struct{}
	err   error
	after map[*func()]struct{}
	look  *time.Timer
}

// lookEvery bounds how late a handler that only waits learns that the client is
// gone. A host gives such a handler 50 ms to end.
const lookEvery = 20 * time.Millisecond

var localAddr net.Addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}

func (c *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (c *requestContext) Value(key any) any {
	if key == http.LocalAddrContextKey {
		return localAddr
	}
	return nil
}

func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	c.watch()
	return c.done
}

// AfterFunc is what package context looks for, so that a derived context does
// not need a goroutine.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	key := &f
	if c.after == nil {
		c.after = map[*func()]struct{}{}
	}
	c.after[key] = struct{}{}
	c.watch()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := c.after[key]
		delete(c.after, key)
		return waiting
	}
}

// watch starts looking for the client; mu is held.
func (c *requestContext) watch() {
	if c.look == nil && c.err == nil {
		c.look = time.AfterFunc(lookEvery, func() {
			if c.exchange.Gone() {
				c.cancel()
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.err == nil {
				c.look.Reset(lookEvery)
			}
		})
	}
}

func (c *requestContext) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = context.Canceled
	if c.look != nil {
		c.look.Stop()
	}
	if c.done != nil {
		close(c.done)
	}
	for f := range c.after {
		go (*f)()
	}
	c.after = nil
}
