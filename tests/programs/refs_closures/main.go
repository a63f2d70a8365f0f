// SPDX-License-Identifier: GPL-2.0-or-later

// Closures of one shape that hold different things: each captures a pointer, a slice, a
// string or a variable that it changes. Prints "object ADDRESS HOW TYPE" of what they
// hold, then "ready".
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"
)

type a struct {
	next *a
	n    [3]uint64
}

type b struct {
	next *b
	n    [3]uint64
}

type c struct {
	load *[64]uint64
	n    [3]uint64
}

var (
	gFuncs []func() uint64
	gCalls []func(uint64)
)

func object(at unsafe.Pointer, how, kind string) {
	fmt.Printf("object %#x %s %s\n", uintptr(at), how, kind)
}

func newA() *a {
	x := &a{}
	return x
}

func newB() *b {
	x := &b{}
	return x
}

func newC() *c {
	x := &c{load: new([64]uint64)}
	object(unsafe.Pointer(x.load), "inner", "[64]uint64")
	return x
}

//go:noinline
func one(i int) {
	x, y, z := newA(), newB(), newC()
	object(unsafe.Pointer(x), "one", "main.a")
	object(unsafe.Pointer(y), "one", "main.b")
	object(unsafe.Pointer(z), "one", "main.c")
	gFuncs = append(gFuncs, func() uint64 { return x.n[0] }, func() uint64 { return y.n[1] },
		func() uint64 { return z.n[2] })
}

//go:noinline
func two(i int) {
	p, q := newA(), newB()
	object(unsafe.Pointer(p), "two", "main.a")
	object(unsafe.Pointer(q), "two", "main.b")
	gFuncs = append(gFuncs, func() uint64 { return p.n[0] + q.n[0] })
	r, s := newB(), newA()
	object(unsafe.Pointer(r), "two", "main.b")
	object(unsafe.Pointer(s), "two", "main.a")
	gFuncs = append(gFuncs, func() uint64 { return r.n[0] + s.n[0] })
}

//go:noinline
func lists(i int) {
	v, w := []*a{newA(), newA()}, []*b{newB(), newB()}
	object(unsafe.Pointer(&v[0]), "list", "[]*main.a")
	object(unsafe.Pointer(&w[0]), "list", "[]*main.b")
	object(unsafe.Pointer(v[0]), "listed", "main.a")
	object(unsafe.Pointer(w[1]), "listed", "main.b")
	gFuncs = append(gFuncs, func() uint64 { return v[i%2].n[0] }, func() uint64 { return w[i%2].n[0] })
}

//go:noinline
func changed(i int) {
	x, y := newA(), newB()
	object(unsafe.Pointer(x), "changed", "main.a")
	object(unsafe.Pointer(y), "changed", "main.b")
	gFuncs = append(gFuncs, func() uint64 { return x.n[0] }, func() uint64 { return y.n[0] })
	gCalls = append(gCalls, func(n uint64) { x = &a{n: [3]uint64{n}} }, func(n uint64) { y = &b{n: [3]uint64{n}} })
}

func main() {
	for i := 0; i < 50; i++ {
		one(i)
		two(i)
		lists(i)
		changed(i)
	}
	runtime.GC()
	fmt.Println("ready")
	os.Stdout.Sync()
	time.Sleep(time.Hour)
	for _, f := range gFuncs {
		gCalls[0](f())
	}
}
