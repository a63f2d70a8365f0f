// SPDX-License-Identifier: GPL-2.0-or-later

// A known amount of memory behind each kind of root that a Go program has, another
// amount for each, so that it is known again without names: kind N holds 5 + 3 N
// pages and, unless it cannot hold pointers, 500 + 10 N nodes. The table of kinds
// is in tests/e2e/test_refs_truth.py. Prints "object ADDRESS TYPE" for some of them,
// "live BYTES" and "ready". With an argument: kinds that need a program of their own.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

const page = 8192

type node struct {
	next *node
	n    uint64
}

// 48 bytes.
type holder struct {
	load  []byte
	chain *node
	tag   uint64
}

//go:noinline
func load(n int) []byte {
	return make([]byte, (5+3*n)*page)
}

func object(at unsafe.Pointer, kind string) {
	fmt.Printf("object %#x %s\n", uintptr(at), kind)
}

//go:noinline
func holdSilently(n int) *holder {
	h := &holder{load: load(n), tag: uint64(n)}
	for i := 0; i < 500+10*n; i++ {
		h.chain = &node{h.chain, uint64(i)}
	}
	return h
}

//go:noinline
func hold(n int) *holder {
	h := holdSilently(n)
	object(unsafe.Pointer(h), "main.holder")
	object(unsafe.Pointer(&h.load[0]), "[]uint8")
	for at, left := h.chain, 20; left > 0; at, left = at.next, left-1 {
		object(unsafe.Pointer(at), "main.node")
	}
	return h
}

var (
	ready sync.WaitGroup
	never = make(chan bool)
	// what the running one writes, so that it computes
	sink [64]uint64
	used []interface{}
)

// Only called by those that never go on.
//
//go:noinline
func use(values ...interface{}) {
	used = values
}

func park() {
	ready.Done()
	<-never
}

func start(f func()) {
	ready.Add(1)
	go f()
}

// Overwrites what was left on the stack.
//
//go:noinline
func wipe(n int) int {
	var words [512]uint64
	for i := range words {
		words[i] = uint64(n)
	}
	if n == 0 {
		return int(words[17])
	}
	return wipe(n-1) + int(words[n])
}

func main() {
	if len(os.Args) > 1 {
		runtime.GOMAXPROCS(1)
		busy()
	}
	variables()
	shapes()
	newerVariables()
	goroutines()
	newerGoroutines()
	others()
	newerOthers()
	handles()
	ready.Wait()
	time.Sleep(100 * time.Millisecond)
	sink[1] = uint64(wipe(20))
	runtime.GC()
	runtime.GC()
	queue()
	sink[2] = uint64(wipe(20))
	pools()
	sink[3] = uint64(wipe(20))
	runtime.GC() // what was at hand in the pool is its victim now
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("live", m.HeapAlloc)
	fmt.Println("ready")
	time.Sleep(time.Hour)
	useVariables()
	useShapes()
	useNewer()
}
