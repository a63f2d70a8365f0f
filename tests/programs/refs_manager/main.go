// SPDX-License-Identifier: GPL-2.0-or-later

// The case that memwho refs grew out of: every buffer is born in one place, a
// pool, and a cluster manager holds most of them through maps and slices. Says
// "held BYTES", those of the manager's buffers, then "ready", and serves commands
// on its standard input:
//
//	heap FILE   its own heap profile, as net/http/pprof serves it
//	grow N      N more buffers of 4 KiB into the global that grows
//	drop N      N buffers of 4 KiB that nobody keeps; says where the last one is
//	gc          two collections
//	churn       allocates and collects from now on, all the time
//
// Each is answered by "done". With an argument it does not collect before "ready".
// Builds with Go 1.17.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

type host struct {
	address string
	buf     []byte
}

type cluster struct {
	name  string
	hosts []*host
}

type clusterManager struct {
	clusters map[string]*cluster
	order    []string
}

type pool struct {
	free [][]byte
	made int
}

var (
	manager *clusterManager
	buffers pool
	gGrows  [][]byte
	gOther  [][]byte
	dropped []byte
	churned []byte
	// the neighbours of what was dropped last: its span has two slots and stays
	beside [2][]byte
)

// The one place where buffers are born.
//
//go:noinline
func (p *pool) get(size int) []byte {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	p.made++
	return make([]byte, size)
}

// Small enough to be inlined.
func (m *clusterManager) reserve() {
	m.order = make([]string, 0, 1<<16)
}

func (m *clusterManager) add(name string) *cluster {
	c := &cluster{name: name}
	m.clusters[name] = c
	m.order = append(m.order, name)
	return c
}

//go:noinline
func fill(m *clusterManager, n int) (held int) {
	m.reserve()
	for i := 0; i < n; i++ {
		c := m.add(fmt.Sprintf("cluster-%d", i))
		for k := 0; k < 16; k++ {
			c.hosts = append(c.hosts, &host{buf: buffers.get(16 << 10)})
			held += 16 << 10
		}
	}
	return held
}

//go:noinline
func grow(n int) {
	for i := 0; i < n; i++ {
		gGrows = append(gGrows, buffers.get(4<<10))
	}
}

//go:noinline
func drop(n int) {
	for i := 0; i < n; i++ {
		beside[0] = dropped
		dropped = buffers.get(4 << 10)
	}
	beside[1] = buffers.get(4 << 10)
	fmt.Printf("%p\n", dropped)
	dropped = nil
}

//go:noinline
func churn(n int) {
	for i := 0; i < n; i++ {
		churned = make([]byte, 4<<10)
	}
}

func main() {
	runtime.MemProfileRate = 64 << 10
	manager = &clusterManager{clusters: map[string]*cluster{}}
	held := fill(manager, 256)
	for i := 0; i < 256; i++ {
		gOther = append(gOther, buffers.get(16<<10))
	}
	grow(256)
	if len(os.Args) == 1 {
		runtime.GC()
		runtime.GC()
	}
	fmt.Println("held", held)
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); fmt.Println("done") {
		var command, path string
		var n int
		fmt.Sscan(in.Text(), &command)
		switch command {
		case "heap":
			fmt.Sscan(in.Text(), &command, &path)
			f, err := os.Create(path)
			if err == nil {
				err = pprof.Lookup("heap").WriteTo(f, 0)
				f.Close()
			}
			if err != nil {
				panic(err)
			}
		case "grow":
			fmt.Sscan(in.Text(), &command, &n)
			grow(n)
		case "drop":
			fmt.Sscan(in.Text(), &command, &n)
			drop(n)
		case "churn":
			go func() {
				for {
					churn(1000)
					runtime.GC()
				}
			}()
		case "gc":
			runtime.GC()
			runtime.GC()
		}
	}
}
