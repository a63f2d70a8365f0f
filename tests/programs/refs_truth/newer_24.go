// SPDX-License-Identifier: GPL-2.0-or-later

//go:build go1.24
// +build go1.24

package main

import (
	"iter"
	"runtime"
	"unique"
	"weak"
)

var (
	gWeak   weak.Pointer[holder]
	gUnique unique.Handle[string]
	gNext   func() (int, bool)
)

//go:noinline
func cleanup() {
	keptCleaned = &finalized{}
	runtime.AddCleanup(keptCleaned, func(h *holder) { use(h) }, hold(68))
}

// What it stands for is not kept.
//
//go:noinline
func weakly() {
	gWeak = weak.Make(holdSilently(69))
}

// A coroutine that stands still between two values.
func coroutine(yield func(int) bool) {
	h := hold(70)
	if yield(1) {
		yield(2)
	}
	use(h)
}

func newerVariables() {
	generics()
	since21()
	weakly()
	gUnique = unique.Make(string(load(71)))
}

func newerGoroutines() {
	next, _ := iter.Pull(iter.Seq[int](coroutine))
	next()
	gNext = next
}

func newerOthers() {
	cleanup()
}

func useNewer() {
	useGenerics()
	use21()
	use(gWeak, gUnique, gNext)
}
