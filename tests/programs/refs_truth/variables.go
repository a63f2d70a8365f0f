// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bytes"
	"container/list"
	"container/ring"
	"context"
	"log"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

type shower interface {
	show() uint64
}

func (h *holder) show() uint64 {
	return h.tag
}

type inner struct {
	*holder
}

type outer struct {
	name string
	inner
}

type pair struct {
	n int
	h *holder
}

type key struct{}

type sayer struct {
	h *holder
}

func (s *sayer) Write(b []byte) (int, error) {
	return len(b), nil
}

var (
	gPointer  *holder
	gSlice    []*holder
	gMap      map[string]*holder
	gMapKey   map[*holder]bool
	gAny      interface{}
	gShower   shower
	gFunc     func() uint64
	gMethod   func() uint64
	gChan     chan *holder
	gArray    [3]*holder
	gStruct   pair
	gString   string
	gEmbedded outer
	gSyncMap  sync.Map
	gPool     sync.Pool
	gAtomic   atomic.Value
	gInner    *byte
	gUnsafe   unsafe.Pointer
	gTwice    **holder
	gList     *list.List
	gRing     *ring.Ring
	gStatic   = &pair{n: 1}
	gOnce     sync.Once
	gContext  context.Context
	gBuffer   bytes.Buffer
	gBuilder  strings.Builder
	gReflect  reflect.Value
	gBeyond   []*holder
	gValues   map[int]pair
)

func variables() {
	gPointer = hold(1)
	gSlice = []*holder{hold(2)}
	gMap = map[string]*holder{"a": hold(3)}
	gMapKey = map[*holder]bool{hold(4): true}
	gAny = hold(5)
	gShower = hold(6)
	captured := hold(7)
	gFunc = func() uint64 { return captured.tag }
	gMethod = hold(8).show
	gChan = make(chan *holder, 4)
	gChan <- hold(9)
	gArray[1] = hold(10)
	gStruct.h = hold(11)
	gString = string(load(12))
	gEmbedded = outer{"name", inner{hold(13)}}
	gSyncMap.Store("a", hold(14))
	gAtomic.Store(hold(15))
	gInner = &load(16)[page]
	gUnsafe = unsafe.Pointer(hold(17))
	twice := hold(18)
	gTwice = &twice
	gList = list.New()
	gList.PushBack(hold(19))
	gRing = ring.New(1)
	gRing.Value = hold(20)
	gStatic.h = hold(21)
	gContext = context.WithValue(context.Background(), key{}, hold(22))
	gBuffer = *bytes.NewBuffer(load(23))
	gBuilder.Grow((5 + 3*24) * page)
	gReflect = reflect.ValueOf(hold(25))
	// behind its length, within its capacity
	gBeyond = append(gBeyond, nil, hold(26))[:1]
	gValues = map[int]pair{1: {1, hold(27)}}
	os.Setenv("REFS_TRUTH", string(bytes.Repeat([]byte{'x'}, (5+3*28)*page-64)))
	log.SetOutput(&sayer{hold(29)})
}

// In one pool one thing: it is at hand, then the victim.
//
//go:noinline
func pools() {
	gPool.Put(hold(30))
}

func useVariables() {
	use(gPointer, gSlice, gMap, gMapKey, gAny, gShower, gFunc, gMethod, gChan, gArray, gStruct, gString,
		gEmbedded, &gSyncMap, &gPool, &gAtomic, gInner, gUnsafe, gTwice, gList, gRing, gStatic, &gOnce,
		gContext, &gBuffer, &gBuilder, gReflect, gBeyond, gValues)
}
