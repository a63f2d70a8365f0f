// SPDX-License-Identifier: GPL-2.0-or-later

//go:build go1.24
// +build go1.24

package main

import (
	"runtime"
	"strings"
	"weak"
)

var keptWeak weak.Pointer[finalized]

//go:noinline
func cleanups() {
	h := told(newHolder(32))
	keptCleaned = &finalized{}
	runtime.AddCleanup(keptCleaned, func(x *holder) { use(x) }, h)
	root("cleanup", held, "cleanups")
}

//go:noinline
func weaks() {
	// what it stands for is not kept: it counts nowhere
	keptWeak = weak.Make(&finalized{h: newHolder(33)})
	weak.Make(keptCleaned)
	root("weak handle", 8, "weak handles")
}

//go:noinline
func blockCleanups(began chan bool) {
	runtime.AddCleanup(&finalized{}, func(began chan bool) {
		began <- true
		<-never
	}, began)
}

//go:noinline
func makeQueuedCleanups() {
	for i := 0; i < 3; i++ {
		runtime.AddCleanup(&finalized{}, func(h *holder) { use(h) }, newHolder(35))
	}
}

// What is queued with the finalizers: in 1.24 the same goroutine runs both.
func queuedNewer() int {
	if strings.HasPrefix(runtime.Version(), "go1.24") {
		makeQueuedCleanups()
		return 3 * held
	}
	began := make(chan bool, 1)
	blockCleanups(began)
	runtime.GC()
	<-began
	makeQueuedCleanups()
	root("queued cleanup", 3*held, "queued cleanups")
	return 0
}

func newest() {
	cleanups()
	weaks()
}
