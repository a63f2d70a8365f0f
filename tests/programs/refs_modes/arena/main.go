// SPDX-License-Identifier: GPL-2.0-or-later

// Objects of a user arena (GOEXPERIMENT=arenas), which hold objects of the heap.
package main

import (
	"arena"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"
)

type item struct {
	next *item
	load []byte
	text string
}

type heap struct {
	load []byte
}

var (
	gArena *arena.Arena
	gItems *item
	gSlice []*heap
	gStale *item
)

func main() {
	gArena = arena.NewArena()
	for i := 0; i < 500; i++ {
		n := arena.New[item](gArena)
		n.next = gItems
		n.load = make([]byte, 2048) // of the heap
		n.text = string(make([]byte, 100))
		gItems = n
	}
	gSlice = arena.MakeSlice[*heap](gArena, 0, 100)
	for i := 0; i < 100; i++ {
		h := &heap{make([]byte, 1000)}
		fmt.Printf("object %#x main.heap\n", uintptr(unsafe.Pointer(h)))
		gSlice = append(gSlice, h)
	}
	// one that was freed: while something points into it, the address space of a full chunk stays
	// taken; the next one is kept for another arena
	freed := arena.NewArena()
	gStale = arena.New[item](freed)
	for i := 0; i < 10; i++ {
		arena.MakeSlice[*heap](freed, 100000, 100000)
	}
	freed.Free()
	fmt.Println("held", 500*(2048+112)+100*(1024+24), 500*2+200)
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("live", m.HeapAlloc, m.HeapObjects)
	fmt.Println("ready")
	os.Stdout.Sync()
	time.Sleep(time.Hour)
}
