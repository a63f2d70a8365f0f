// SPDX-License-Identifier: GPL-2.0-or-later

// A Go heap that never stands still and always holds the same: every slot of a
// ring is replaced, again and again, by two threads. Prints "live BYTES", what the
// ring keeps at any moment, then "ready".
package main

import (
	"fmt"
	"sync"
	"time"
)

type item struct {
	load *[1024]byte
	next *item
}

const slots = 20000

var ring [slots]*item

// a pool without a name of its own: only a variable points to it
var spare = &sync.Pool{New: func() interface{} { return new([65536]byte) }}

func fill(i int) {
	ring[i] = &item{new([1024]byte), nil}
}

func churn(from int) {
	for {
		for i := from; i < slots; i += 2 {
			fill(i)
			if i%1000 == from {
				time.Sleep(time.Millisecond)
				spare.Put(spare.Get())
			}
		}
	}
}

func main() {
	for i := range ring {
		fill(i)
	}
	go churn(0)
	go churn(1)
	fmt.Println("live", slots*(1024+16))
	fmt.Println("ready")
	time.Sleep(time.Hour)
}
