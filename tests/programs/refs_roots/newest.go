// SPDX-License-Identifier: GPL-2.0-or-later

//go:build go1.24
// +build go1.24

package main

import (
	"runtime"
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

func newest() {
	cleanups()
	weaks()
}
