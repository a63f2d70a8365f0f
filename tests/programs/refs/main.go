// SPDX-License-Identifier: GPL-2.0-or-later

// A Go heap with a known answer: what each global and goroutine keeps, in bytes of the size classes that the runtime rounds up to. Prints the
// truth as lines "root NAME BYTES OBJECTS", then "live BYTES OBJECTS" as the
// runtime counts after two collections, then "ready". Builds with Go 1.17.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"
)

type host struct {
	name string
	buf  []byte
	next *host
}

type cluster struct {
	hosts []*host
}

type manager struct {
	clusters []*cluster
}

type tree struct {
	left, right *tree
	load        [3]uint64
}

type leaf struct {
	key, value, other uint64
}

type node struct {
	leaves *[4]*leaf
	what   interface{}
	say    func(...interface{}) string
}

type big struct {
	words [100]uint64
	next  *big
}

var (
	gManager *manager
	gList    *host
	gBlobs   [][]byte
	gTree    *tree
	gBig     *big
	gChan    = make(chan []byte, 64)
	gIface   interface{}
	gMap     map[int][]byte
	gShareA  *host
	gShareB  *host
	gFunc    func() int
	gInner   *uint64
	gNames   []*string
	gAny     []interface{}
)

func makeManager() {
	gManager = &manager{clusters: make([]*cluster, 64)}
	for i := range gManager.clusters {
		c := &cluster{hosts: make([]*host, 32)}
		for k := range c.hosts {
			c.hosts[k] = &host{buf: make([]byte, 1024)}
		}
		gManager.clusters[i] = c
	}
}

func makeTree(depth int) *tree {
	if depth == 0 {
		return nil
	}
	return &tree{left: makeTree(depth - 1), right: makeTree(depth - 1)}
}

func hold(ready chan bool, until chan bool) {
	local := make([]*host, 16)
	for i := range local {
		local[i] = &host{buf: make([]byte, 8192)}
	}
	ready <- true
	<-until
	runtime.KeepAlive(local)
}

func object(at unsafe.Pointer, kind string) {
	if at != nil {
		fmt.Printf("object %#x %s\n", uintptr(at), kind)
	}
}

func printTree(t *tree, depth int) {
	if t != nil && depth > 0 {
		object(unsafe.Pointer(t), "main.tree")
		printTree(t.left, depth-1)
		printTree(t.right, depth-1)
	}
}

// Address and type of some thousands of objects.
func printObjects() {
	object(unsafe.Pointer(gManager), "main.manager")
	object(unsafe.Pointer(&gManager.clusters[0]), "[]*main.cluster")
	for _, c := range gManager.clusters {
		object(unsafe.Pointer(c), "main.cluster")
		object(unsafe.Pointer(&c.hosts[0]), "[]*main.host")
		for _, h := range c.hosts {
			object(unsafe.Pointer(h), "main.host")
			object(unsafe.Pointer(&h.buf[0]), "[]uint8")
		}
	}
	for n, h := 0, gList; n < 2000; n, h = n+1, h.next {
		object(unsafe.Pointer(h), "main.host")
	}
	object(unsafe.Pointer(&gBlobs[0]), "[][]uint8")
	for _, b := range gBlobs {
		object(unsafe.Pointer(&b[0]), "[]uint8")
	}
	printTree(gTree, 11)
	for b := gBig; b != nil; b = b.next {
		object(unsafe.Pointer(b), "main.big")
	}
	for _, b := range gMap {
		object(unsafe.Pointer(&b[0]), "[]uint8")
	}
	object(unsafe.Pointer(gIface.(*host)), "main.host")
	object(unsafe.Pointer(&gIface.(*host).buf[0]), "[]uint8")
	object(unsafe.Pointer(gShareA), "main.host")
	object(unsafe.Pointer(gShareB.next), "main.host")
	for _, p := range gNames {
		object(unsafe.Pointer(p), "string")
	}
	for _, a := range gAny {
		switch v := a.(type) {
		case *leaf:
			object(unsafe.Pointer(v), "main.leaf")
		case *node:
			object(unsafe.Pointer(v), "main.node")
			object(unsafe.Pointer(v.leaves), "[4]*main.leaf")
		}
	}
}

func makeOthers() {
	for i := 0; i < 500; i++ {
		s := strconv.Itoa(i)
		gNames = append(gNames, &s)
		if i%2 == 0 {
			gAny = append(gAny, &leaf{key: uint64(i)})
		} else {
			gAny = append(gAny, &node{leaves: &[4]*leaf{{}, {}}, say: fmt.Sprint})
		}
	}
}

func main() {
	makeOthers()
	makeManager()
	for i := 0; i < 50000; i++ {
		gList = &host{next: gList}
	}
	gBlobs = make([][]byte, 128)
	for i := range gBlobs {
		gBlobs[i] = make([]byte, 4096)
	}
	gTree = makeTree(12)
	for i := 0; i < 100; i++ {
		gBig = &big{next: gBig}
	}
	for i := 0; i < 32; i++ {
		gChan <- make([]byte, 2048)
	}
	gIface = &host{buf: make([]byte, 65536)}
	gMap = map[int][]byte{}
	for i := 0; i < 1000; i++ {
		gMap[i] = make([]byte, 256)
	}
	shared := &host{buf: make([]byte, 131072)}
	gShareA = &host{next: shared}
	gShareB = &host{next: shared}
	captured := make([]byte, 16384)
	gFunc = func() int { return len(captured) + int(captured[0]) }
	inner := new([512]uint64)
	gInner = &inner[100]
	ready, until := make(chan bool), make(chan bool)
	for i := 0; i < 4; i++ {
		go hold(ready, until)
	}
	for i := 0; i < 4; i++ {
		<-ready
	}
	runtime.GC()

	fmt.Println("root main.gManager", 24+64*8+64*(24+32*8)+64*32*(48+1024), 1+1+64*2+64*32*2)
	fmt.Println("root main.gList", 50000*48, 50000)
	fmt.Println("root main.gBlobs", 128*24+128*4096, 129)
	fmt.Println("root main.gTree", 4095*48, 4095)
	fmt.Println("root main.gShareA", 48, 1)
	fmt.Println("root main.gShareB", 48, 1)
	fmt.Println("root main.gIface", 48+65536, 2)
	fmt.Println("root main.gInner", 4096, 1)
	fmt.Println("root main.gBig", 100*896, 100)
	fmt.Println("shared main.gShareA main.gShareB", 48+131072, 2)
	fmt.Println("stack main.hold", 4*(16*8+16*(48+8192)), 4*(1+32))
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("live " + strconv.FormatUint(m.HeapAlloc, 10) + " " + strconv.FormatUint(m.HeapObjects, 10))
	printObjects()
	fmt.Println("ready")
	os.Stdout.Sync()
	time.Sleep(time.Hour)
	close(until)
	runtime.KeepAlive(shared)
	fmt.Println(gFunc(), gMap, gChan, gTree, gBig, gBlobs, gManager, gInner, gIface, gShareA, gShareB, gList, gNames, gAny)
}
