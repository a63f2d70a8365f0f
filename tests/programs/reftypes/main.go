// SPDX-License-Identifier: GPL-2.0-or-later

// A Go heap whose objects are of every kind that a type can be found for, and of
// some that look like others. Prints "object ADDRESS TYPE" (or "KIND ADDRESS TYPE",
// a kind that not every version can tell), the type as DWARF names it, then "live
// BYTES OBJECTS" and "ready". Builds with Go 1.17; generic.go needs 1.19.
package main

import (
	"bufio"
	"bytes"
	"container/list"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

type rec struct {
	id   int
	name string
	tags []string
	next *rec
}

type val struct { // boxed by value
	a, b uint64
	r    *rec
	more [3]uint64
}

type fail struct{ r *rec }

func (f *fail) Error() string { return f.r.name }

type bigValue struct {
	pad  [25]uint64
	deep *rec
}

type bigKey struct {
	pad [30]uint64
	r   *rec
}

// Two of one shape: no one can tell them by it.
type twinA struct {
	p *rec
	n int
}
type twinB struct {
	p *rec
	n int
}

// Alone of its shape.
type loner struct {
	a    [3]int
	p    *rec
	b    [2]int
	s    string
	f    func() int
	c, d uint64
}

type pooled struct {
	buf  []byte
	next *pooled
	n    [5]int
}

type static struct {
	items []*rec
	last  *rec
	pad   [8]uint64
}

type holder struct {
	sub   [4]twinA
	boxed interface{}
	err   error
	inner struct {
		deep struct{ r *rec }
	}
}

type raw struct{ p unsafe.Pointer }

type cell struct{ left, right *cell }

var (
	gStatic   = &static{}
	gRecs     *rec
	gAny      []interface{}
	gErrors   []error
	gByName   map[string]*rec
	gBigVals  map[int]bigValue
	gBigKeys  map[bigKey]*rec
	gSmall    map[int]*rec
	gGrowing  map[int]*rec
	gSparse   map[int]*rec
	gSets     map[string]map[int]struct{}
	gSync     sync.Map
	gValue    atomic.Value
	gPool     = sync.Pool{}
	gChan     = make(chan *rec, 300)
	gVals     = make(chan val, 64)
	gFuncs    []func() int
	gMethods  []func() string
	gTwinsA   []*twinA
	gTwinsB   []*twinB
	gLoners   []*loner
	gHolders  []*holder
	gArray    [16]*rec
	gRaw      []*raw
	gList     = list.New()
	gContext  context.Context
	gBuffers  []*bytes.Buffer
	gStrings  []string
	gParts    []string
	gSlice    []rec
	gInner    []rec
	gBytes    [][]byte
	gPairs    []*[2]*rec
	gDoubles  []**rec
	gCells    *cell
	gTimers   []*time.Timer
	gTickers  []*time.Ticker
	gSelected = make(chan *rec)
	kept      []unsafe.Pointer
)

var out = bufio.NewWriter(os.Stdout)

func object(p unsafe.Pointer, kind string) {
	fmt.Fprintf(out, "object %#x %s\n", uintptr(p), kind)
}

func said(what string, p unsafe.Pointer, kind string) {
	fmt.Fprintf(out, "%s %#x %s\n", what, uintptr(p), kind)
}

func boxed(v *interface{}) unsafe.Pointer {
	return (*[2]unsafe.Pointer)(unsafe.Pointer(v))[1]
}

func bytesOf(s string) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&s))
}

func makeRec(i int) *rec {
	r := &rec{id: i, name: fmt.Sprintf("record %d of many", i), tags: make([]string, 2, 4)}
	r.tags[0] = strings.Repeat("t", 30+i%7)
	return r
}

func recObjects(what string, r *rec) {
	said(what, unsafe.Pointer(r), "main.rec")
	said(what, unsafe.Pointer(&r.tags[0]), "[]string")
	said(what, bytesOf(r.name), "string data")
	said(what, bytesOf(r.tags[0]), "string data")
}

func makeStatic() {
	for i := 0; i < 200; i++ {
		gStatic.items = append(gStatic.items, makeRec(i))
		recObjects("object", gStatic.items[i])
	}
	object(unsafe.Pointer(&gStatic.items[0]), "[]*main.rec")
	gStatic.last = makeRec(-1)
	recObjects("object", gStatic.last)
}

func makeInterfaces() {
	for i := 0; i < 300; i++ {
		v := val{a: 1, r: makeRec(i)}
		gAny = append(gAny, v, makeRec(i), fmt.Sprintf("boxed %d", i), [3]uint64{1, 2, uint64(i)}, &twinB{n: i})
		gErrors = append(gErrors, &fail{makeRec(i)})
	}
	object(unsafe.Pointer(&gAny[0]), "[]interface {}")
	object(unsafe.Pointer(&gErrors[0]), "[]error")
	for i := 0; i < len(gAny); i += 5 {
		object(boxed(&gAny[i]), "main.val")
		recObjects("object", gAny[i].(val).r)
		recObjects("object", gAny[i+1].(*rec))
		object(boxed(&gAny[i+2]), "string")
		object(boxed(&gAny[i+3]), "[3]uint64")
		object(boxed(&gAny[i+4]), "main.twinB")
	}
	for _, e := range gErrors {
		object(unsafe.Pointer(e.(*fail)), "main.fail")
		recObjects("object", e.(*fail).r)
	}
}

func makeMaps() {
	gByName, gBigVals, gBigKeys = map[string]*rec{}, map[int]bigValue{}, map[bigKey]*rec{}
	gSmall, gGrowing, gSparse = map[int]*rec{}, map[int]*rec{}, map[int]*rec{}
	gSets = map[string]map[int]struct{}{}
	for i := 0; i < 400; i++ {
		r := makeRec(i)
		gByName[r.name] = r
		gBigVals[i] = bigValue{deep: makeRec(i)}
		k := bigKey{r: makeRec(i)}
		k.pad[7] = uint64(i)
		gBigKeys[k] = makeRec(i)
	}
	for i := 0; i < 7; i++ {
		gSmall[i] = makeRec(i)
	}
	// 6.5 entries a bucket: the next growth has just begun (up to 1.23)
	for i := 0; i < 6656/8+2; i++ {
		gGrowing[i] = makeRec(i)
	}
	for i := 0; i < 2000; i++ {
		gSparse[i] = nil
	}
	for i := 0; i < 2000; i++ {
		if i%100 == 0 {
			gSparse[i] = makeRec(i)
		} else {
			delete(gSparse, i)
		}
	}
	for i := 0; i < 20; i++ {
		m := map[int]struct{}{}
		for k := 0; k < 50; k++ {
			m[k] = struct{}{}
		}
		gSets[fmt.Sprint("set ", i)] = m
	}
	for _, m := range []map[int]*rec{gSmall, gGrowing, gSparse} {
		for _, r := range m {
			recObjects("object", r)
		}
	}
	for _, r := range gByName {
		recObjects("object", r)
	}
	for _, v := range gBigVals {
		recObjects("object", v.deep)
	}
	for k, r := range gBigKeys {
		recObjects("object", k.r)
		recObjects("object", r)
	}
}

func makeSync() {
	for i := 0; i < 500; i++ {
		gSync.Store(i, makeRec(i))
		gSync.Store(fmt.Sprint("key ", i), val{a: uint64(i), r: makeRec(i)})
	}
	gSync.Range(func(k, v interface{}) bool {
		if r, ok := v.(*rec); ok {
			recObjects("object", r)
		} else {
			object(boxed(&v), "main.val")
			recObjects("object", v.(val).r)
		}
		return true
	})
	gValue.Store(makeRec(1))
	recObjects("object", gValue.Load().(*rec))
}

func makeChannels() {
	for i := 0; i < 300; i++ {
		gChan <- makeRec(i)
	}
	for i := 0; i < 300; i++ {
		r := <-gChan
		recObjects("object", r)
		gChan <- r
	}
	for i := 0; i < 40; i++ {
		gVals <- val{r: makeRec(i)}
	}
	for i := 0; i < 40; i++ {
		v := <-gVals
		recObjects("object", v.r)
		gVals <- v
	}
}

func (r *rec) say() string { return r.name }

func capture(r *rec, b []byte, n int) func() int {
	return func() int { return r.id + int(b[0]) + n }
}

func makeFuncs() {
	for i := 0; i < 100; i++ {
		r, b := makeRec(i), make([]byte, 100)
		gFuncs = append(gFuncs, capture(r, b, i))
		recObjects("closure", r)
		said("closure", unsafe.Pointer(&b[0]), "[]uint8")
		m := makeRec(i)
		gMethods = append(gMethods, m.say)
		recObjects("closure", m)
	}
}

func makeShapes() {
	for i := 0; i < 300; i++ {
		a, b := &twinA{makeRec(i), i}, &twinB{makeRec(i), i}
		gTwinsA, gTwinsB = append(gTwinsA, a), append(gTwinsB, b)
		l := &loner{p: makeRec(i), s: strings.Repeat("l", 40), f: gFuncs[i%100]}
		gLoners = append(gLoners, l)
		h := &holder{boxed: val{a: 2, r: makeRec(i)}, err: &fail{makeRec(i)}}
		h.sub[i%4].p = makeRec(i)
		h.inner.deep.r = makeRec(i)
		gHolders = append(gHolders, h)
		object(unsafe.Pointer(a), "main.twinA")
		object(unsafe.Pointer(b), "main.twinB")
		object(unsafe.Pointer(l), "main.loner")
		object(unsafe.Pointer(h), "main.holder")
		object(boxed(&h.boxed), "main.val")
		for _, r := range []*rec{a.p, b.p, l.p, h.boxed.(val).r, h.err.(*fail).r, h.sub[i%4].p, h.inner.deep.r} {
			recObjects("object", r)
		}
		two := &[2]*rec{makeRec(i), nil}
		gPairs = append(gPairs, two)
		object(unsafe.Pointer(two), "[2]*main.rec")
		recObjects("object", two[0])
		r := makeRec(i)
		double := new(*rec)
		*double = r
		gDoubles = append(gDoubles, double)
		object(unsafe.Pointer(double), "*main.rec")
		recObjects("object", r)
		gCells = &cell{left: gCells, right: &cell{}}
		object(unsafe.Pointer(gCells), "main.cell")
		object(unsafe.Pointer(gCells.right), "main.cell")
	}
	object(unsafe.Pointer(&gTwinsA[0]), "[]*main.twinA")
	object(unsafe.Pointer(&gTwinsB[0]), "[]*main.twinB")
	object(unsafe.Pointer(&gHolders[0]), "[]*main.holder")
	for i := range gArray {
		gArray[i] = makeRec(i)
		recObjects("object", gArray[i])
	}
	for i := 0; i < 50; i++ {
		r := makeRec(i)
		gRaw = append(gRaw, &raw{unsafe.Pointer(r)})
		said("unsafe", unsafe.Pointer(r), "main.rec")
		object(unsafe.Pointer(gRaw[i]), "main.raw")
	}
}

func makeLibrary() {
	gContext = context.Background()
	for i := 0; i < 64; i++ {
		gContext = context.WithValue(gContext, i, makeRec(i))
		object((*[2]unsafe.Pointer)(unsafe.Pointer(&gContext))[1], "context.valueCtx")
		recObjects("object", gContext.Value(i).(*rec))
		e := gList.PushBack(makeRec(i))
		object(unsafe.Pointer(e), "container/list.Element")
		recObjects("object", e.Value.(*rec))
		b := bytes.NewBuffer(make([]byte, 0, 700))
		b.WriteString("something")
		gBuffers = append(gBuffers, b)
		object(unsafe.Pointer(b), "bytes.Buffer")
		object(unsafe.Pointer(&b.Bytes()[0]), "[]uint8")
	}
}

func makeSlices() {
	gSlice = make([]rec, 40)
	gInner = make([]rec, 64)
	object(unsafe.Pointer(&gSlice[0]), "[]main.rec")
	object(unsafe.Pointer(&gInner[0]), "[]main.rec")
	for i := range gSlice {
		gSlice[i] = *makeRec(i)
		gInner[i] = *makeRec(i)
		object(bytesOf(gInner[i].name), "string data")
		object(unsafe.Pointer(&gSlice[i].tags[0]), "[]string")
		object(unsafe.Pointer(&gInner[i].tags[0]), "[]string")
	}
	gInner = gInner[8:32]
	gSlice = gSlice[:3]
	for i := 0; i < 100; i++ {
		s := strings.Repeat("s", 500+i)
		gStrings = append(gStrings, s)
		object(bytesOf(s), "string data")
		s = strings.Repeat("p", 1000+i)
		said("part", bytesOf(s), "string data")
		gParts = append(gParts, s[100:120])
		b := make([]byte, 10, 2000)
		object(unsafe.Pointer(&b[0]), "[]uint8")
		gBytes = append(gBytes, b)
	}
}

func makePool() {
	for i := 0; i < 20; i++ {
		gPool.Put(&pooled{buf: make([]byte, 50)})
	}
	var all []*pooled
	for i := 0; i < 20; i++ {
		p, ok := gPool.Get().(*pooled)
		if !ok {
			break
		}
		said("pool", unsafe.Pointer(p), "main.pooled")
		said("pool", unsafe.Pointer(&p.buf[0]), "[]uint8")
		all = append(all, p)
	}
	for _, p := range all {
		gPool.Put(p)
	}
}

func makeTimers() {
	for i := 0; i < 50; i++ {
		r := makeRec(i)
		gTimers = append(gTimers, time.AfterFunc(time.Hour, func() { fmt.Println(r.name) }))
		recObjects("closure", r)
		said("timer", unsafe.Pointer(gTimers[i]), "time.Timer")
		gTickers = append(gTickers, time.NewTicker(time.Hour))
		said("timer", unsafe.Pointer(gTickers[i]), "time.Ticker")
	}
}

func main() {
	makeStatic()
	makeInterfaces()
	makeMaps()
	makeSync()
	makeChannels()
	makeFuncs()
	makeShapes()
	makeLibrary()
	makeSlices()
	makeTimers()
	makeGeneric()
	runtime.GC()
	runtime.GC()
	runtime.GOMAXPROCS(1)
	makePool()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	out.Flush()
	fmt.Println("live", m.HeapAlloc, m.HeapObjects)
	fmt.Println("ready")
	time.Sleep(time.Hour)
	fmt.Println(gStatic, gRecs, gAny, gErrors, gByName, gBigVals, gBigKeys, gSmall, gGrowing, gSparse, gSets, &gSync, &gValue, &gPool,
		gChan, gVals, gFuncs, gMethods, gTwinsA, gTwinsB, gLoners, gHolders, gArray, gRaw, gList, gContext, gBuffers, gStrings,
		gParts, gSlice, gInner, gBytes, gPairs, gDoubles, gCells, gTimers, gTickers, gSelected, kept)
}
