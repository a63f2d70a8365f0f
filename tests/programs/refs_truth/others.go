// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"runtime"
	"time"
)

type finalized struct {
	h *holder
	n uint64
}

type running finalized

type waiting finalized

var (
	keptFinalized, keptCleaned *finalized
	began                      = make(chan bool, 1)
)

//go:noinline
func timerAfter() {
	h := hold(58)
	time.AfterFunc(time.Hour, func() { use(h) })
}

//go:noinline
func timerContext() {
	ctx, _ := context.WithTimeout(context.WithValue(context.Background(), key{}, hold(59)), time.Hour)
	use(ctx.Done())
	used = nil
}

//go:noinline
func finalizer() {
	h := hold(60)
	keptFinalized = &finalized{}
	runtime.SetFinalizer(keptFinalized, func(*finalized) { use(h) })
}

func others() {
	timerAfter()
	timerContext()
	finalizer()
}

// The one goroutine that runs finalizers is busy for ever with the first, the second waits.
//
//go:noinline
func queueFirst() {
	runtime.SetFinalizer(&running{h: hold(61)}, func(f *running) {
		began <- true
		<-never
		use(f)
	})
}

//go:noinline
func queueSecond() {
	runtime.SetFinalizer(&waiting{h: hold(62)}, func(*waiting) {})
}

func queue() {
	queueFirst()
	sink[4] = uint64(wipe(20))
	runtime.GC()
	<-began
	queueSecond()
	sink[5] = uint64(wipe(20))
	runtime.GC()
}
