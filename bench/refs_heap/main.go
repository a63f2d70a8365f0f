// SPDX-License-Identifier: GPL-2.0-or-later

// A Go heap of a given size, to be walked: `mix MIB` is a server's (clusters of
// hosts with buffers, sessions in a map by string, a list, trees, interfaces,
// closures, channels, what two globals share; about 7 million objects a GiB, three
// quarters of the bytes without pointers); `dense MIB` has about 12 million a GiB, most
// of them small; `small N` is N small objects with
// pointers and nothing else. Prints "live BYTES OBJECTS" as the runtime counts, and
// stays; for each line of its input it prints "gap US": how long it stood still at
// most since the last, by a ticker of 1 ms.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

type host struct {
	name string
	buf  []byte
	next *host
	load [2]uint64
}

type cluster struct {
	hosts []*host
	index map[string]*host
}

type manager struct {
	clusters []*cluster
}

type session struct {
	id    string
	attrs []string
	owner *host
	data  interface{}
	done  func() int
}

type tree struct {
	left, right *tree
	key         uint64
}

type link struct {
	next *link
	word uint64
}

var (
	gManager  = &manager{}
	gSessions = map[string]*session{}
	gTrees    []*tree
	gList     *link
	gQueue    = make(chan *session, 4096)
	gSharedA  []*host
	gSharedB  []*host
	gSmall    []*tree
)

func makeTree(depth int) *tree {
	if depth == 0 {
		return nil
	}
	return &tree{left: makeTree(depth - 1), right: makeTree(depth - 1), key: uint64(depth)}
}

// About 320 KiB in some 2,200 objects.
func unit(n int) {
	c := &cluster{index: map[string]*host{}}
	for i := 0; i < 200; i++ {
		h := &host{name: "host-" + strconv.Itoa(n*1000+i), buf: make([]byte, 1000)}
		h.buf[0] = 1 // so that it is there
		c.hosts = append(c.hosts, h)
		if i%4 == 0 {
			c.index[h.name] = h
		}
		if i%50 == 0 {
			gSharedA, gSharedB = append(gSharedA, &host{next: h}), append(gSharedB, &host{next: h})
		}
	}
	gManager.clusters = append(gManager.clusters, c)
	for i := 0; i < 100; i++ {
		k := n*100 + i
		s := &session{id: "session-" + strconv.Itoa(k), attrs: []string{"a" + strconv.Itoa(k), "b" + strconv.Itoa(k)}, owner: c.hosts[i]}
		if i%2 == 0 {
			s.data = &host{buf: make([]byte, 64)}
		} else {
			s.data = k
			s.done = func() int { return k + len(s.attrs) }
		}
		gSessions[s.id] = s
	}
	gTrees = append(gTrees, makeTree(8))
	for i := 0; i < 300; i++ {
		gList = &link{next: gList, word: uint64(i)}
	}
}

// As many small objects as a unit has, so that 4 GiB are some 50 million.
func dense() {
	gSmall = append(gSmall, makeTree(10))
	for i := 0; i < 1023; i++ {
		gList = &link{next: gList}
	}
}

// Half in trees of 32-byte nodes, half in lists of 16-byte ones.
func small(n int) {
	for done := 0; done < n; {
		gSmall = append(gSmall, makeTree(16))
		done += 65535
		for i := 0; i < 65535; i++ {
			gList = &link{next: gList}
		}
		done += 65535
	}
}

func main() {
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	switch os.Args[1] {
	case "mix", "dense":
		for i := 0; ; i++ {
			unit(i)
			if os.Args[1] == "dense" {
				dense()
			}
			var m runtime.MemStats
			if i%64 == 63 {
				if runtime.ReadMemStats(&m); m.HeapAlloc > uint64(n)<<20 {
					runtime.GC()
					if runtime.ReadMemStats(&m); m.HeapAlloc > uint64(n)<<20 {
						break
					}
				}
			}
		}
	case "small":
		small(n)
	}
	for i := 0; i < 64 && len(gSessions) > 0; i++ {
		gQueue <- &session{id: strconv.Itoa(i)}
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("live", m.HeapAlloc, m.HeapObjects)
	var longest int64
	go func() {
		for last := time.Now(); ; {
			time.Sleep(time.Millisecond)
			now := time.Now()
			if gap := now.Sub(last).Microseconds(); gap > atomic.LoadInt64(&longest) {
				atomic.StoreInt64(&longest, gap)
			}
			last = now
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println("gap", atomic.SwapInt64(&longest, 0))
	}
	time.Sleep(time.Hour)
}
