// SPDX-License-Identifier: GPL-2.0-or-later

// A Go heap with a known answer: small and large objects with and without
// pointers, garbage, goroutines with deep stacks. Prints runtime/metrics'
// /memory/classes, then waits; again for each line that comes in. With an
// argument it keeps allocating meanwhile. Before that: addresses of objects.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"
)

type node struct {
	next *node
	data [40]byte
}

var nodes *node
var blobs [][]byte

func deep(n int, wait chan int) int {
	var room [1000]byte
	if n == 0 {
		<-wait
		return 0
	}
	room[n] = byte(deep(n-1, wait))
	return int(room[n])
}

func churn() {
	for i := 0; ; i++ {
		blobs[i%len(blobs)] = make([]byte, (i%50+1)*80)
		time.Sleep(time.Millisecond)
	}
}

func main() {
	for i := 0; i < 300000; i++ {
		nodes = &node{next: nodes}
	}
	for i := 0; i < 2000; i++ {
		blob := make([]byte, (i%50+1)*800)
		for j := range blob {
			blob[j] = 1
		}
		blobs = append(blobs, blob)
	}
	wait := make(chan int)
	for i := 0; i < 300; i++ {
		go deep(i%20, wait)
	}
	runtime.GC()
	time.Sleep(300 * time.Millisecond)
	for _, blob := range blobs[:500] {
		fmt.Printf("block %p %d\n", &blob[len(blob)/2], len(blob))
	}
	fmt.Printf("block %p %d\n", nodes, 48)
	if len(os.Args) > 1 {
		go churn()
	}
	var samples []metrics.Sample
	for _, about := range metrics.All() {
		if strings.HasPrefix(about.Name, "/memory/classes/") {
			samples = append(samples, metrics.Sample{Name: about.Name})
		}
	}
	in := bufio.NewReader(os.Stdin)
	for {
		metrics.Read(samples)
		for _, s := range samples {
			fmt.Println(s.Name, s.Value.Uint64())
		}
		fmt.Println("end", nodes != nil)
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
	}
}
