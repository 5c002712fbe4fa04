//go:build go1.24

package wasihttp

import (
	"runtime"
	"time"
	"unsafe"
)

// How goroutines wait for the host.
//
//	goroutine: import says "not now" -> park(pollable) ----------------+
//	poller:    runs while anyone is parked: poll(all of them + clock) -+-> wakes those that are ready
//
// An import that blocks stops every goroutine, so only the poller calls one, and
// only after it let all runnable goroutines run. Goroutines may also sleep on Go
// timers, which Go looks at between two polls only, and there is no way to ask it
// for the next one. So a poll lasts one slice at most: a fraction of the time since
// anything happened, by which a timer set then can be late. When nobody is parked
// there is no poller, and Go's own scheduler sleeps in the host until the next
// timer is due.

// waiter is a parked goroutine.
type waiter struct {
	pollable uint32
	ready    chan struct{} // receives once, when the pollable is ready or the wait is cut
	parked   bool
}

var (
	waiting []*waiter
	polling bool

	pollList []uint32 // the poller's list of handles, last the clock
	pollHits []uint32 // where the host writes the indices of the ready ones
)

const (
	shortSlice = time.Millisecond
	longSlice  = 50 * time.Millisecond // a stalled client costs 20 looks a second
	lateness   = 16                    // timers are late by a 16th at most
	// A Gosched that took longer than this ran other goroutines.
	otherWork = 20 * time.Microsecond
)

// park waits until the pollable is ready or cut is called. It keeps the pollable.
func (w *waiter) park(pollable uint32) {
	if w.ready == nil {
		w.ready = make(chan struct{}, 1)
	}
	w.pollable, w.parked = pollable, true
	waiting = append(waiting, w)
	if !polling {
		polling = true
		go poller()
	}
	<-w.ready
}

// wake ends the wait; the caller takes w out of waiting.
func (w *waiter) wake() {
	w.parked = false
	w.ready <- struct{}{}
}

// cut ends a wait, if there is one, so that the pollable can be dropped.
func (w *waiter) cut() {
	if !w.parked {
		return
	}
	for i, x := range waiting {
		if x == w {
			waiting = append(waiting[:i], waiting[i+1:]...)
			break
		}
	}
	w.wake()
}

func poller() {
	event, busy := clockNow(), false
	for len(waiting) > 0 {
		before := clockNow()
		runtime.Gosched()
		if len(waiting) == 0 {
			break
		}
		now := clockNow()
		if now-before > uint64(otherWork) {
			// Others are at work and may have more to do: look, do not sleep.
			// Once may be no more than cold caches after a long poll.
			woke := wakeReady(func(i int) bool { return pollableReady(waiting[i].pollable) != 0 })
			if woke || busy {
				event = now
			}
			busy = true
			continue
		}
		busy = false
		slice := min(max(time.Duration(now-event)/lateness, shortSlice), longSlice)
		if pollOnce(slice) {
			event = clockNow()
		}
	}
	polling = false
}

// pollOnce sleeps until a parked goroutine can go on or the slice is over.
func pollOnce(slice time.Duration) (woke bool) {
	for len(pollList) <= len(waiting) { // making it may let others park or go
		n := 2*len(waiting) + 8
		pollList, pollHits = make([]uint32, n), make([]uint32, n)
	}
	n := len(waiting)
	list, hits := pollList[:n+1], pollHits[:n+1]
	for i, w := range waiting {
		list[i] = w.pollable
	}
	clock := clockSubscribe(uint64(slice))
	list[n] = clock
	expect(unsafe.Slice((*byte)(unsafe.Pointer(&hits[0])), 4*len(hits)))
	pollMany(unsafe.Pointer(&list[0]), uint32(len(list)), retAt())
	ready := retU32(4)
	unexpect()
	pollableDrop(clock)
	hits = hits[:ready]
	return wakeReady(func(i int) bool {
		for _, h := range hits {
			if int(h) == i {
				return true
			}
		}
		return false
	})
}

// wakeReady wakes the waiters that ready names by index.
func wakeReady(ready func(int) bool) (woke bool) {
	keep := waiting[:0]
	for i, w := range waiting {
		if ready(i) {
			w.wake()
			woke = true
		} else {
			keep = append(keep, w)
		}
	}
	clear(waiting[len(keep):])
	waiting = keep
	return woke
}
