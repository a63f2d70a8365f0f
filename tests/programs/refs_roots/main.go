// SPDX-License-Identifier: GPL-2.0-or-later

// One known amount of memory behind each kind of root that a Go program has. Prints
// the truth as lines "root KIND BYTES NAME" (what one root keeps; NAME is how it
// begins; of several, with "|", all together), "wait NAME REASON" and "object ADDRESS TYPE", then "live BYTES OBJECTS"
// and "ready". Builds with Go 1.17; files with build tags add what is newer.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const size = 65536 // of each load: a size class of its own kind, without pointers

// A holder with one load; 16 + 65536 bytes. The padding keeps it out of the class
// of small things that the runtime makes itself.
type holder struct {
	load *[size]byte
	tag  uint64
}

const held = 16 + size

func newHolder(tag uint64) *holder {
	return &holder{load: new([size]byte), tag: tag}
}

var (
	ready sync.WaitGroup
	never = make(chan bool)
	none  chan bool
	pool  sync.Pool
	// what the running ones write, so that they compute
	sink [64]uint64
	used []interface{}
	// nobody writes to it
	writer *os.File
)

func root(kind string, bytes int, name string) {
	fmt.Println("root", kind, bytes, name)
}

func object(at unsafe.Pointer, kind string) {
	fmt.Printf("object %#x %s\n", uintptr(at), kind)
}

func told(h *holder) *holder {
	object(unsafe.Pointer(h), "main.holder")
	return h
}

// ---- goroutines that wait ----

// Only called by those that never go on: what is given here is on the heap.
//
//go:noinline
func use(values ...interface{}) {
	used = values
}

func waitReceive() {
	h := told(newHolder(1))
	ready.Done()
	<-never
	use(h)
}

func waitSend() {
	h := told(newHolder(2))
	out := make(chan *holder)
	message := told(newHolder(3))
	ready.Done()
	out <- message
	use(h)
}

func waitSelect() {
	h := told(newHolder(4))
	out, in := make(chan *holder), make(chan bool)
	message := told(newHolder(5))
	ready.Done()
	select {
	case out <- message:
	case <-in:
	}
	use(h)
}

func waitNil() {
	h := told(newHolder(6))
	ready.Done()
	<-none
	use(h)
}

func waitSleep() {
	h := told(newHolder(7))
	ready.Done()
	time.Sleep(time.Hour)
	use(h)
}

func waitMutex(m *sync.Mutex) {
	h := told(newHolder(8))
	ready.Done()
	m.Lock()
	use(h)
}

func waitCond(c *sync.Cond) {
	h := told(newHolder(9))
	c.L.Lock()
	ready.Done()
	c.Wait()
	use(h)
}

func waitGroup(w *sync.WaitGroup) {
	h := told(newHolder(10))
	ready.Done()
	w.Wait()
	use(h)
}

func waitIO(r *os.File) {
	h := told(newHolder(11))
	var b [1]byte
	ready.Done()
	r.Read(b[:])
	use(h)
}

func waitSyscall(fd int) {
	h := told(newHolder(12))
	var b [1]byte
	ready.Done()
	syscall.Read(fd, b[:])
	use(h)
}

// ---- goroutines that run ----

// It has no call in it: only a signal can stop it.
//
//go:noinline
func spin(h *holder, n *uint64) {
	for h.tag != 0 {
		*n += h.tag
	}
}

func runTight() {
	h := told(newHolder(13))
	ready.Done()
	spin(h, &sink[8])
	use(h)
}

//go:noinline
func step(h *holder) uint64 {
	return h.tag
}

func runCalls() {
	h := told(newHolder(14))
	ready.Done()
	for step(h) != 0 {
		sink[16]++
	}
	use(h)
}

// ---- variables ----

type pair struct {
	a, b *holder
}

//go:noinline
func parameters(h *holder, p pair, s []*holder, i interface{}) {
	ready.Done()
	<-never
	use(h, p, s, i)
}

func locals() {
	h := told(newHolder(15))
	p := pair{told(newHolder(16)), told(newHolder(17))}
	s := make([]*holder, 40)
	for i := range s {
		s[i] = told(newHolder(18))
	}
	object(unsafe.Pointer(&s[0]), "[]*main.holder")
	parameters(h, p, s, told(newHolder(19)))
}

func maps() {
	m := map[int]*holder{}
	for i := 0; i < 100; i++ {
		m[i] = told(newHolder(20))
	}
	ready.Done()
	<-never
	use(m)
}

func array() {
	var a [4]*holder
	for i := range a {
		a[i] = told(newHolder(21))
	}
	ready.Done()
	<-never
	use(a[:])
}

func closures() {
	h := told(newHolder(22))
	f := func() uint64 { return h.tag }
	ready.Done()
	<-never
	use(f)
}

func captured() {
	h := told(newHolder(23))
	go func() {
		ready.Done()
		<-never
		use(h)
	}()
}

func deferred() {
	for i := 0; i < 2; i++ {
		h := told(newHolder(24))
		defer func() { use(h) }()
	}
	ready.Done()
	<-never
}

func panics() {
	defer func() {
		ready.Done()
		<-never
		recover()
	}()
	panic(told(newHolder(25)))
}

func start(f func()) {
	ready.Add(1)
	go f()
}

func waiting() {
	var m sync.Mutex
	var g sync.WaitGroup
	m.Lock()
	g.Add(1)
	c := sync.NewCond(new(sync.Mutex))
	r, w, _ := os.Pipe()
	writer = w
	var fds [2]int
	syscall.Pipe(fds[:])
	start(waitReceive)
	start(waitSend)
	start(waitSelect)
	start(waitNil)
	start(waitSleep)
	start(func() { waitMutex(&m) })
	start(func() { waitCond(c) })
	start(func() { waitGroup(&g) })
	start(func() { waitIO(r) })
	start(func() { waitSyscall(fds[0]) })
	root("stack", held, "goroutines of main.waitReceive ")
	root("stack", 2*held+96, "goroutines of main.waitSend ")
	root("stack", 2*held+2*96, "goroutines of main.waitSelect ")
	root("stack", held, "goroutines of main.waitNil ")
	root("stack", held, "goroutines of main.waitSleep ")
	root("stack", held, "goroutines of main.waiting.func1 ")
	root("stack", held, "goroutines of main.waiting.func2 ")
	root("stack", held, "goroutines of main.waiting.func3 ")
	root("stack", held, "goroutines of main.waiting.func4 ")
	root("stack", held, "goroutines of main.waiting.func5 ")
	fmt.Println("wait main.waitReceive chan receive")
	fmt.Println("wait main.waitSend chan send")
	fmt.Println("wait main.waitSelect select")
	fmt.Println("wait main.waitNil chan receive (nil chan)")
	fmt.Println("wait main.waitSleep sleep")
	fmt.Println("wait main.waiting.func4 IO wait")
	fmt.Println("wait main.waiting.func5 syscall")
}

func variables() {
	start(locals)
	start(maps)
	start(array)
	start(closures)
	start(captured)
	start(deferred)
	start(panics)
	root("stack", 44*held+40*8, "goroutines of main.locals ")
	root("stack", 100*held, "goroutines of main.maps ")
	root("stack", 4*held, "goroutines of main.array ")
	root("stack", held, "goroutines of main.closures ")
	root("stack", held+16, "goroutines of main.captured.func1 ")
	// which of its two closures the stack has, too, is up to the compiler
	root("defer,stack", 2*held+2*(64+16), "deferred calls|goroutines of main.deferred ")
	root("panic", held, "panics")
}

// ---- what no goroutine holds ----

//go:noinline
func timers() {
	a, b := told(newHolder(26)), told(newHolder(27))
	time.AfterFunc(time.Hour, func() { use(a) })
	time.AfterFunc(2*time.Hour, func() { use(b) })
	root("timer", 2*held+2*(16+96), "timers")
}

type finalized struct {
	h *holder
	n uint64
}

var keptFinalized, keptCleaned *finalized

//go:noinline
func finalizers() {
	h := told(newHolder(28))
	keptFinalized = &finalized{}
	runtime.SetFinalizer(keptFinalized, func(*finalized) { use(h) })
	root("finalizer", held+16, "finalizers")
}

// The one goroutine that runs finalizers is busy for ever, so the next ones wait.
//
//go:noinline
func block(began chan bool) {
	runtime.SetFinalizer(&finalized{}, func(*finalized) {
		began <- true
		<-never
	})
}

//go:noinline
func makeQueued() {
	for i := 0; i < 3; i++ {
		runtime.SetFinalizer(&finalized{h: newHolder(34)}, func(*finalized) {})
	}
}

func queued() {
	began := make(chan bool, 1)
	block(began)
	runtime.GC()
	<-began
	makeQueued()
	more := queuedNewer()
	sink[2] = uint64(clear(20))
	root("queued finalizer", 3*(held+16)+more, "queued finalizers")
}

//go:noinline
func pools() {
	pool.Put(told(newHolder(29)))
	pool.Put(told(newHolder(30)))
	root("sync.Pool", 2*held, "sync.Pool of main.pool")
}

//go:noinline
func clear(n int) int {
	var words [512]uint64
	for i := range words {
		words[i] = uint64(n)
	}
	if n == 0 {
		return int(words[17])
	}
	return clear(n-1) + int(words[n])
}

func main() {
	runtime.GOMAXPROCS(4)
	if len(os.Args) > 1 && os.Args[1] == "preempted" {
		runtime.GOMAXPROCS(1)
	}
	timers()
	finalizers()
	newer()
	handles()
	waiting()
	variables()
	ready.Wait()
	queued()
	time.Sleep(100 * time.Millisecond)
	sink[1] = uint64(clear(20))
	runtime.GC()
	runtime.GC()
	pools()
	runtime.GC() // what was at hand is the victim now
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("live", m.HeapAlloc, m.HeapObjects)
	if len(os.Args) > 1 {
		start(runTight)
		start(runCalls)
		ready.Wait()
		root("stack", held, "goroutines of main.runTight ")
		root("stack", held, "goroutines of main.runCalls ")
		if os.Args[1] != "preempted" {
			fmt.Println("wait main.runTight running")
			fmt.Println("wait main.runCalls running")
		}
	}
	fmt.Println("ready")
	os.Stdout.Sync()
	time.Sleep(time.Hour)
	use(keptFinalized, keptCleaned)
}
