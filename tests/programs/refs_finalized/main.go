// SPDX-License-Identifier: GPL-2.0-or-later

// Large objects with finalizers that a variable keeps: the collector counts what it scans for the
// finalizer, and once more what the variable leads to.
package main

import (
	"fmt"
	"runtime"
	"time"
)

type big struct {
	next *big
	pad  [1<<18 - 8]byte
}

var kept []*big

func main() {
	for i := 0; i < 16; i++ {
		b := new(big)
		runtime.SetFinalizer(b, func(b *big) { b.next = nil })
		kept = append(kept, b)
	}
	runtime.GC()
	runtime.GC()
	fmt.Println("ready")
	time.Sleep(time.Hour)
	runtime.KeepAlive(kept)
}
