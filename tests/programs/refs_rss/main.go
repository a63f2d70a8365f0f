// SPDX-License-Identifier: GPL-2.0-or-later

// A Go process whose resident memory is known part by part: objects that are
// touched and that are not, garbage, idle pages, slots that lie empty between
// others, and memory from C: malloc and mmap. Prints "part NAME BYTES" each and
// "ready", then waits for a line, after which it says anew what changes by itself.
package main

/*
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

// A huge page is there as a whole, whatever of it was touched.
static void __attribute__((constructor)) no_huge_pages(void)
{
	if (!getenv("WITH_HUGE_PAGES"))
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

static void *some_malloc(size_t n)
{
	void *p = malloc(n);

	if (p)
		memset(p, 1, n);
	return p;
}

// maps n, touches the first half
static void *some_mmap(size_t n)
{
	void *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 0;
	madvise(p, n, MADV_NOHUGEPAGE);
	memset(p, 1, n / 2);
	return p;
}
*/
import "C"

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const mib = 1 << 20

type slot [64]byte

var (
	touched   [][]byte
	untouched [][]byte
	sparse    []byte
	dropped   [192][]byte
	kept      []*slot
	sink      []byte
	blocks    [64]*C.char
	mapping   *C.char
)

func touch(b []byte) []byte {
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b
}

// Freed and kept: the pages stay with the runtime.
func makeIdle() {
	for i := 0; i < 512; i++ {
		sink = touch(make([]byte, mib/16))
	}
	sink = nil
	runtime.GC()
	runtime.GC()
}

// Every other slot of its class stays empty.
func makeHoles() {
	var all []*slot
	kept = make([]*slot, 0, 200000)
	for i := 0; i < 400000; i++ {
		all = append(all, &slot{1})
	}
	for i := 0; i < len(all); i += 2 {
		kept = append(kept, all[i])
	}
	all = nil
	runtime.GC()
	runtime.GC()
}

func deep(n int, ready, wait chan int) byte {
	var room [1000]byte
	if n == 0 {
		ready <- 1
		<-wait
		return 0
	}
	room[n%1000] = deep(n-1, ready, wait)
	return room[(n+1)%1000]
}

// By another goroutine: no stale pointer stays on this one's stack.
func aside(f func()) {
	done := make(chan int)
	go func() {
		f()
		done <- 1
	}()
	<-done
}

// What the runtime itself calls free and not returned; its scavenger is at work.
func idle() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func main() {
	// no collection unless asked, and nothing is given back meanwhile
	debug.SetGCPercent(1000000)
	// first: memory that was used before is zeroed, and so touched
	for i := 0; i < 16; i++ {
		untouched = append(untouched, make([]byte, 4*mib))
	}
	sparse = make([]byte, 64*mib)
	touch(sparse[:8*mib])
	aside(makeHoles)
	for i := 0; i < 20; i++ {
		touched = append(touched, touch(make([]byte, mib)))
	}
	ready, wait := make(chan int), make(chan int)
	for i := 0; i < 100; i++ {
		go deep(100, ready, wait)
		<-ready
	}
	for i := range blocks {
		blocks[i] = (*C.char)(C.some_malloc(256 << 10))
	}
	mapping = (*C.char)(C.some_mmap(48 * mib))
	aside(func() {
		for i := range dropped {
			dropped[i] = touch(make([]byte, mib/16))
		}
	})
	aside(makeIdle)
	for i := range dropped {
		dropped[i] = nil
	}
	fmt.Println("part live", 20*mib+8*mib+64*len(kept)+8*cap(kept))
	fmt.Println("part garbage", 12*mib)
	fmt.Println("part holes", 64*len(kept))
	fmt.Println("part malloc", 64*256<<10)
	fmt.Println("part mmap", 24*mib)
	fmt.Println("part stacks", 100*101*1000)
	in := bufio.NewReader(os.Stdin)
	for {
		fmt.Println("part idle", idle())
		fmt.Println("ready")
		if _, err := in.ReadString('\n'); err != nil {
			break
		}
	}
	runtime.KeepAlive(untouched)
}
