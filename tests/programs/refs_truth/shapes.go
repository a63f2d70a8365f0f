// SPDX-License-Identifier: GPL-2.0-or-later

package main

import "fmt"

// Too large for a map's own slots, which have a pointer to it then.
type wide struct {
	words [32]uint64
	h     *holder
}

type wideKey [20]uint64

type circle struct {
	next *circle
	h    *holder
}

type failure struct {
	h *holder
}

func (f *failure) Error() string {
	return "failure"
}

var (
	gMapBig    map[int]wide
	gMapWide   map[wideKey]*holder
	gMapSparse map[int]*holder
	gChanPairs chan pair
	gField     *uint64
	gCircle    *circle
	gPairs     []pair
	gNested    map[string]map[string]*holder
	gFuncMore  func() uint64
	gError     error
	gShareA    *pair
	gShareB    *pair
)

func shapes() {
	gMapBig = map[int]wide{1: {h: hold(73)}}
	gMapWide = map[wideKey]*holder{{1: 2}: hold(74)}
	gMapSparse = map[int]*holder{}
	for i := 0; i < 100; i++ {
		gMapSparse[i] = nil
	}
	gMapSparse[50] = hold(75)
	for i := 0; i < 100; i++ {
		if i != 50 {
			delete(gMapSparse, i)
		}
	}
	gChanPairs = make(chan pair, 2)
	gChanPairs <- pair{1, hold(76)}
	gField = &hold(77).tag
	gCircle = &circle{&circle{nil, nil}, hold(78)}
	gCircle.next.next = gCircle
	gPairs = []pair{{}, {1, hold(79)}, {}}
	gNested = map[string]map[string]*holder{"a": {"b": hold(80)}}
	n, h, words := len(gPairs), hold(81), make([]uint64, 10)
	gFuncMore = func() uint64 { return h.tag + uint64(n) + words[n] }
	gError = fmt.Errorf("wrapped: %w", &failure{hold(82)})
	shared := hold(84)
	gShareA, gShareB = &pair{1, shared}, &pair{2, shared}
}

func waitSelectReceive() {
	h := hold(83)
	one, other := make(chan bool), make(chan *holder)
	ready.Done()
	select {
	case <-one:
	case <-other:
	}
	use(h)
}

func useShapes() {
	use(gMapBig, gMapWide, gMapSparse, gChanPairs, gField, gCircle, gPairs, gNested, gFuncMore, gError, gShareA,
		gShareB)
}
