// SPDX-License-Identifier: GPL-2.0-or-later

//go:build go1.21
// +build go1.21

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

var (
	gPinner     *runtime.Pinner
	gOnceValue  func() *holder
	gAtomicType atomic.Pointer[holder]
)

//go:noinline
func pin() {
	p := new(runtime.Pinner)
	p.Pin(hold(65))
	gPinner = p
}

func since21() {
	pin()
	gOnceValue = sync.OnceValue(func() *holder { return hold(66) })
	gOnceValue()
	gAtomicType.Store(hold(67))
}

func use21() {
	use(gPinner, gOnceValue, &gAtomicType)
}
