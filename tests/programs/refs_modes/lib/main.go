// SPDX-License-Identifier: GPL-2.0-or-later

// Go inside a C program (-buildmode=c-archive, c-shared): Fill() makes objects that
// only variables of Go hold and says so as tests/programs/refs does: "root NAME BYTES
// OBJECTS", "object ADDRESS TYPE", "live BYTES OBJECTS", "ready".
package main

import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

type node struct {
	next *node
	load []byte
}

var (
	gList  *node
	gTable map[string]*node
)

func newNode(next *node) *node {
	n := &node{next: next, load: make([]byte, 4096)}
	fmt.Printf("object %#x main.node\n", uintptr(unsafe.Pointer(n)))
	return n
}

//export Fill
func Fill() {
	for i := 0; i < 300; i++ {
		gList = newNode(gList)
	}
	gTable = map[string]*node{}
	for i := 0; i < 8; i++ {
		gTable[fmt.Sprint("key", i)] = newNode(nil)
	}
	fmt.Println("root main.gList", 300*(4096+32), 600)
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("live", m.HeapAlloc, m.HeapObjects)
	fmt.Println("ready")
}

func main() {}
