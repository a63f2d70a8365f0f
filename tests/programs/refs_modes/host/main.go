// SPDX-License-Identifier: GPL-2.0-or-later

// Opens the plugin argv[1].
package main

import (
	"fmt"
	"os"
	"plugin"
	"runtime"
	"time"
	"unsafe"
)

type own struct {
	next *own
	load []byte
}

var gOwn *own

func main() {
	p, err := plugin.Open(os.Args[1])
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fill, _ := p.Lookup("Fill")
	fill.(func())()
	hold, _ := p.Lookup("Hold")
	began := make(chan bool)
	go hold.(func(func()))(func() { began <- true })
	<-began
	for i := 0; i < 100; i++ {
		gOwn = &own{gOwn, make([]byte, 4096)}
		fmt.Printf("object %#x main.own\n", uintptr(unsafe.Pointer(gOwn)))
	}
	fmt.Println("root main.gOwn", 100*(4096+32), 200)
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("live", m.HeapAlloc, m.HeapObjects)
	fmt.Println("ready")
	os.Stdout.Sync()
	time.Sleep(time.Hour)
}
