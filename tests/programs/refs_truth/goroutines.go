// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"
)

// ---- what waits, with a variable ----

func waitReceive() {
	h := hold(31)
	park()
	use(h)
}

func waitSend() {
	out := make(chan *holder)
	message := hold(32)
	ready.Done()
	out <- message
}

func waitSelect() {
	out, in := make(chan *holder), make(chan bool)
	message := hold(33)
	ready.Done()
	select {
	case out <- message:
	case <-in:
	}
}

func waitSleep() {
	h := hold(34)
	ready.Done()
	time.Sleep(time.Hour)
	use(h)
}

func waitMutex() {
	var m sync.Mutex
	h := hold(35)
	m.Lock()
	ready.Done()
	m.Lock()
	use(h)
}

func waitRead() {
	var m sync.RWMutex
	h := hold(36)
	m.Lock()
	ready.Done()
	m.RLock()
	use(h)
}

func waitCond() {
	c := sync.NewCond(new(sync.Mutex))
	h := hold(37)
	c.L.Lock()
	ready.Done()
	c.Wait()
	use(h)
}

func waitGroup() {
	var g sync.WaitGroup
	h := hold(38)
	g.Add(1)
	ready.Done()
	g.Wait()
	use(h)
}

func waitIO() {
	h := hold(39)
	r, w, _ := os.Pipe()
	var b [1]byte
	ready.Done()
	r.Read(b[:])
	use(h, w)
}

func waitSyscall() {
	h := hold(40)
	var fds [2]int
	var b [1]byte
	syscall.Pipe(fds[:])
	ready.Done()
	syscall.Read(fds[0], b[:])
	use(h)
}

func waitNil() {
	h := hold(41)
	var none chan bool
	ready.Done()
	<-none
	use(h)
}

func waitLocked() {
	runtime.LockOSThread()
	h := hold(42)
	park()
	use(h)
}

// ---- what a variable is ----

//go:noinline
func argument(h *holder) {
	park()
	use(h)
}

func withArgument() {
	argument(hold(43))
}

//go:noinline
func arguments(s []*holder, i interface{}) {
	park()
	use(s, i)
}

func withSlice() {
	arguments([]*holder{hold(44)}, nil)
}

func withInterface() {
	arguments(nil, hold(45))
}

func withArray() {
	var a [4]*holder
	a[2] = hold(46)
	park()
	use(a[:])
}

func withMap() {
	m := map[int]*holder{1: hold(47)}
	park()
	use(m)
}

func withClosure() {
	h := hold(48)
	f := func() uint64 { return h.tag }
	park()
	use(f)
}

// Its address is taken, so the stack has an object.
func withAddress() {
	p := pair{1, hold(49)}
	fill(&p)
	park()
	use(p.h)
}

//go:noinline
func fill(p *pair) {
	p.n = 2
}

func outsideOf() func() {
	h := hold(50)
	return func() {
		park()
		use(h)
	}
}

// ---- what is put off ----

func deferClosure() {
	for i := 0; i < 2; i++ {
		if i == 0 {
			h := hold(51)
			defer func() { use(h) }()
		}
	}
	park()
}

func deferArgument() {
	defer use(hold(52))
	park()
}

func panics() {
	defer func() {
		park()
		recover()
	}()
	panic(hold(53))
}

func recovered() {
	var r interface{}
	func() {
		defer func() { r = recover() }()
		panic(hold(54))
	}()
	park()
	use(r)
}

//go:noinline
func label() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("load", string(load(55)))))
}

// The labels of a profiler: held by the goroutine's record alone, which has them of its creator.
func labelled() {
	label()
	start(park)
	pprof.SetGoroutineLabels(context.Background())
}

func goroutines() {
	for _, f := range []func(){waitReceive, waitSend, waitSelect, waitSelectReceive, waitSleep, waitMutex, waitRead, waitCond, waitGroup,
		waitIO, waitSyscall, waitNil, waitLocked, withArgument, withSlice, withInterface, withArray, withMap,
		withClosure, withAddress, outsideOf(), deferClosure, deferArgument, panics, recovered} {
		start(f)
	}
	labelled()
}

// ---- kinds that need a program of their own ----

// It has no call in it.
//
//go:noinline
func spin(h *holder, n *uint64) {
	for h.tag != 0 {
		*n += h.tag
	}
}

func unstarted(h *holder) {
	use(h)
}

//go:noinline
func begin() {
	go unstarted(holdSilently(57))
}

// The only processor is never given away (GODEBUG=asyncpreemptoff=1), not even for a write: who has
// not begun never does.
func busy() {
	h := hold(56)
	fmt.Println("live 0")
	fmt.Println("ready")
	begin()
	spin(h, &sink[8])
	use(h)
}
